//! `sim:82576`: a model of a device, in this process.

use super::{Given, Kind, Target, no_option, number};
use crate::near::nearest;
use crate::open::Fresh;
use crate::{OpenError, Opener};
use barline_sim::Mode;
use std::fmt;
use std::ops::RangeInclusive;

pub(super) const KIND: Kind = Kind {
    name: "sim",
    form: "sim:82576[,mode=sync|thread,size=BYTES,rate=FRAMES A SECOND,wire=NAME]",
    about: "a simulated NIC; needs no NIC, no root, no huge pages",
    example: "sim:82576",
    flags: &[],
    parse: |given| Ok(Box::new(SimSpec::parse(given)?)),
};

/// A simulated port.
#[derive(Clone, Debug, PartialEq)]
pub struct SimSpec {
    /// The model, by the name of the device it plays.
    pub model: &'static str,
    /// Whose time it runs on: `mode=sync` (the default) or `mode=thread` (the default with a rate).
    pub mode: Mode,
    /// Bytes of a generated frame without FCS: `size=60`.
    pub size: usize,
    /// Frames a second that the port receives: `rate=1000`, and none at all with `rate=0`. Without it they come as fast
    /// as the port takes them.
    pub rate: Option<f64>,
    /// The cable it is plugged into, with the other port of the same name: `wire=a`. It then receives what that one sends
    /// and nothing else.
    pub wire: Option<String>,
}

/// Devices that there is a model of.
pub(crate) const MODELS: &[&str] = &["82576"];
/// Frames without FCS that a port takes at the standard MTU.
const SIZES: RangeInclusive<usize> = 60..=1514;
/// Frames a second of a gigabit link at most.
const RATE: f64 = 1_488_095.0;

impl SimSpec {
    /// A simulated 82576 with 60-byte frames.
    pub fn new() -> Self {
        Self {
            model: MODELS[0],
            mode: Mode::Sync,
            size: *SIZES.start(),
            rate: None,
            wire: None,
        }
    }

    fn parse(given: &Given<'_>) -> Result<Self, String> {
        let name = given.name;
        let known = MODELS.iter().find(|known| **known == name);
        let model = known.ok_or_else(|| {
            let near = nearest(name, MODELS.iter().copied());
            format!("there is no model {name:?}; did you mean sim:{near}?")
        })?;
        let mut sim = Self { model, ..Self::new() };
        given.options().try_for_each(|option| sim.set(option))?;
        if sim.rate.is_some() {
            // Somebody has to notice that the next frame is due while the port's core sleeps.
            if given.options().any(|option| option == ("mode", "sync")) {
                return Err("a rate needs mode=thread; leave mode=sync out".to_owned());
            }
            sim.mode = Mode::Thread;
            if sim.wire.is_some() {
                return Err("a port on a wire receives what the other one sends; leave rate= out".to_owned());
            }
        }
        Ok(sim)
    }

    fn set(&mut self, option: (&str, &str)) -> Result<(), String> {
        match option {
            ("mode", "sync") => self.mode = Mode::Sync,
            ("mode", "thread") => self.mode = Mode::Thread,
            ("mode", _) => return Err("write mode=sync or mode=thread".to_owned()),
            ("size", size) => self.size = number("size", size, *SIZES.start(), *SIZES.end())?,
            ("rate", rate) => {
                let rate = number("rate", rate, 0.0, RATE);
                self.rate = Some(rate.map_err(|why| format!("{why}, in frames a second"))?);
            }
            ("wire", "") => return Err("write wire=a, for two ports".to_owned()),
            ("wire", name) => self.wire = Some(name.to_owned()),
            (key, _) => return Err(no_option(key, &["mode=", "size=", "rate=", "wire="])),
        }
        Ok(())
    }
}

impl Target for SimSpec {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let (function, end) = opener.open_sim(self)?;
        let port = opener.drive(function, self, "")?;
        Ok(Fresh::simulated(port, end))
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

/// What is not the default is said.
impl fmt::Display for SimSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim:{}", self.model)?;
        if self.mode == Mode::Thread {
            f.write_str(",mode=thread")?;
        }
        if self.size != *SIZES.start() {
            write!(f, ",size={}", self.size)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ",rate={rate}")?;
        }
        match &self.wire {
            Some(wire) => write!(f, ",wire={wire}"),
            None => Ok(()),
        }
    }
}

impl Default for SimSpec {
    fn default() -> Self {
        Self::new()
    }
}
