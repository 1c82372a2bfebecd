//! `sim:82576`, `sim:virtio-net`: a model of a device, in this process.

use super::{Given, Kind, Target, no_option, number};
use crate::list;
use crate::near::nearest;
use crate::opened::Fresh;
use crate::sim::{MODELS, Simulated};
use crate::{OpenError, Opener};
use barline_sim::Mode;
use std::fmt;
use std::ops::RangeInclusive;

pub(super) const KIND: Kind = Kind {
    name: "sim",
    form: "sim:82576|virtio-net[,mode=sync|thread,size=BYTES,rate=FRAMES A SECOND,wire=NAME][,queues=N,OPTIONS OF THE DRIVER]",
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
    /// Pairs of queues that a virtio device has: `queues=1`.
    pub queues: u16,
    /// Options of its driver, as in `packed=off,mrg=on`.
    pub driver: String,
}

/// Frames without FCS that a port takes at the standard MTU.
const SIZES: RangeInclusive<usize> = 60..=1514;
/// Frames a second of a gigabit link at most.
const RATE: f64 = 1_488_095.0;

impl SimSpec {
    /// A simulated 82576 with 60-byte frames.
    pub fn new() -> Self {
        Self {
            model: MODELS[0].name,
            mode: Mode::Sync,
            size: *SIZES.start(),
            rate: None,
            wire: None,
            queues: 1,
            driver: String::new(),
        }
    }

    /// What it is a simulation of; of an unknown name, the default.
    pub(crate) fn device(&self) -> &'static Simulated {
        let named = MODELS.iter().find(|model| model.name == self.model);
        named.unwrap_or(&MODELS[0])
    }

    fn parse(given: &Given<'_>) -> Result<Self, String> {
        let name = given.name;
        let known = MODELS.iter().find(|known| known.name == name);
        let model = known.ok_or_else(|| {
            let near = nearest(name, MODELS.iter().map(|model| model.name));
            format!("there is no model {name:?}; did you mean sim:{near}?")
        })?;
        let mut sim = Self {
            model: model.name,
            ..Self::new()
        };
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
        let device = self.device();
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
            ("queues", queues) if device.queues.is_some() => {
                self.queues = number("queues", queues, 1, device.queues.unwrap_or(1))?;
            }
            (key, value) if list::options_of(device.driver).contains(&key) => {
                let comma = if self.driver.is_empty() { "" } else { "," };
                self.driver = format!("{}{comma}{key}={value}", self.driver);
            }
            (key, _) => {
                let own = ["mode=", "size=", "rate=", "wire="];
                let more = device.queues.map(|_| "queues=");
                let known: Vec<_> = own
                    .into_iter()
                    .chain(more)
                    .chain(list::options_of(device.driver).iter().copied())
                    .collect();
                return Err(no_option(key, &known));
            }
        }
        Ok(())
    }
}

impl Target for SimSpec {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let (function, end) = opener.open_sim(self)?;
        let port = opener.drive(function, self, &self.driver)?;
        Ok(Fresh::simulated(port, end))
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn wire(&self) -> Option<&str> {
        self.wire.as_deref()
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
        if let Some(wire) = &self.wire {
            write!(f, ",wire={wire}")?;
        }
        if self.queues > 1 {
            write!(f, ",queues={}", self.queues)?;
        }
        match &*self.driver {
            "" => Ok(()),
            options => write!(f, ",{options}"),
        }
    }
}

impl Default for SimSpec {
    fn default() -> Self {
        Self::new()
    }
}
