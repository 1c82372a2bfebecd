//! `ring:`: a port that receives what it sends.

use super::{Given, Kind, Target};
use crate::opened::{Fresh, Input};
use crate::{OpenError, Opener};
use barline_null::Loopback;
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "ring",
    form: "ring:",
    about: "receives what it sends",
    example: "ring:",
    flags: &[],
    parse,
};

#[derive(Debug)]
struct RingSpec;

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    match (given.name, given.options) {
        ("", "") => Ok(Box::new(RingSpec)),
        _ => Err("a ring port takes no name and no options: write ring:".to_owned()),
    }
}

impl Target for RingSpec {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        Ok(Fresh::new(Box::new(Loopback::new())).fed(Input::Own))
    }
}

impl fmt::Display for RingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ring:")
    }
}
