//! `null:size=64`: a port without a device.

use super::{Given, Kind, Target, no_option};
use crate::opened::Fresh;
use crate::{OpenError, Opener};
use barline_null::Null;
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "null",
    form: "null:[size=BYTES,sink]",
    about: "receives packets without end, or with sink none, and frees what it is to send",
    example: "null:size=64",
    flags: &["sink"],
    parse,
};

#[derive(Debug)]
struct NullSpec {
    size: usize,
    sink: bool,
}

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    let (mut size, mut sink) = (64, false);
    for (key, value) in given.all() {
        match key {
            "size" => {
                size = value
                    .parse()
                    .map_err(|_| "write null: or null:size=64".to_owned())?;
            }
            "sink" if value.is_empty() => sink = true,
            "sink" => return Err("write null:sink".to_owned()),
            _ if key.parse::<usize>().is_ok() => return Err(format!("did you mean null:size={key}?")),
            _ => return Err(no_option(key, &["size", "sink"])),
        }
    }
    Ok(Box::new(NullSpec { size, sink }))
}

impl Target for NullSpec {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        let port = Null::new(self.size).map_err(|source| OpenError::port(self, source))?;
        let port = if self.sink { port.sink() } else { port };
        Ok(Fresh::new(Box::new(port)))
    }
}

impl fmt::Display for NullSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sink {
            true => f.write_str("null:sink"),
            false => write!(f, "null:size={}", self.size),
        }
    }
}
