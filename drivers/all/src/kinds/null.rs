//! `null:size=64`: a port without a device.

use super::{Given, Kind, Target, no_option};
use crate::open::Fresh;
use crate::{OpenError, Opener};
use barline_null::Null;
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "null",
    form: "null:[size=BYTES]",
    about: "receives packets without end and frees what it is to send",
    example: "null:size=64",
    flags: &[],
    parse,
};

#[derive(Debug)]
struct NullSpec(usize);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    let mut size = 64;
    for (key, value) in given.all() {
        match key {
            "size" => {
                size = value
                    .parse()
                    .map_err(|_| "write null: or null:size=64".to_owned())?;
            }
            _ => return Err(no_option(key, &["size"])),
        }
    }
    Ok(Box::new(NullSpec(size)))
}

impl Target for NullSpec {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        let port = Null::new(self.0).map_err(|source| OpenError::port(self, source))?;
        Ok(Fresh::new(Box::new(port)))
    }
}

impl fmt::Display for NullSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "null:size={}", self.0)
    }
}
