use crate::Failure;
use serde::Serialize;
use std::io::{ErrorKind, Write, stdout};

#[derive(Serialize)]
struct Tagged<'a, T> {
    r#type: &'a str,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Serialize)]
struct Rated<'a, T> {
    #[serde(flatten)]
    account: &'a T,
    rate: f64,
}

/// A line of JSON of this type, and what it tells.
pub fn tagged(kind: &str, what: &impl Serialize) -> String {
    json(&Tagged { r#type: kind, what })
}

/// A line with an account, and with packets sent a second: since the line before, in the summary since the start.
pub fn rated(kind: &str, account: &impl Serialize, rate: f64) -> String {
    let rate = rate.round();
    tagged(kind, &Rated { account, rate })
}

/// A value in one line. Names and numbers: there is nothing in them that JSON cannot hold.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).map_or_else(|error| error.to_string(), |text| text + "\n")
}

/// Prints and flushes; false when the reader of a pipe is gone, which is his right.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::run(format!("cannot write to standard output: {error}"))),
    }
}
