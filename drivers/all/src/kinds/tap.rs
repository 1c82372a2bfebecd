//! `tap:tap0`: the kernel's network stack at the other end of the cable.

use super::{Given, Kind, Target};
use crate::opened::Fresh;
use crate::{Fault, OpenError, Opener};
use barline_tap::{Tap, TapError};
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "tap",
    form: "tap:NAME",
    about: "a new interface of the kernel, which goes with the program; needs CAP_NET_ADMIN",
    example: "tap:tap0",
    flags: &[],
    parse,
};

#[derive(Debug)]
struct TapSpec(String);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    if given.name.is_empty() {
        return Err(format!("it names no interface; write {}", KIND.example));
    }
    match given.options {
        "" => Ok(Box::new(TapSpec(given.name.to_owned()))),
        options => Err(format!("a tap port takes no options; leave out {options:?}")),
    }
}

impl Target for TapSpec {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        let refused = |error: TapError| {
            let fault = match error {
                TapError::Name { .. } | TapError::InUse { .. } => Fault::Usage,
                TapError::Os { .. } => Fault::Run,
                _ => Fault::Machine,
            };
            OpenError::refused(self, fault, error)
        };
        Ok(Fresh::new(Box::new(Tap::open(&self.0).map_err(refused)?)))
    }
}

impl fmt::Display for TapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", KIND.name, self.0)
    }
}
