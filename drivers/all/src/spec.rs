use crate::guess;
use crate::kinds::Given;
use crate::kinds::{Kind, Pci, SimSpec, Target, kind};
use crate::near::nearest;
use crate::opened::Fresh;
use crate::{OpenError, Opener, wraps};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How a user names a port: a kind, a colon, and what the kind takes ([`KINDS`](crate::KINDS)), as in `sim:82576,size=1514`; or the
/// address of a PCI function alone; behind it what is put around it ([`WRAPS`](crate::WRAPS)), as in `sim:82576+trace=10`.
/// `engine/docs/ports.md` has them all.
#[derive(Clone, Debug)]
pub struct PortSpec(Arc<dyn Target>);

impl PartialEq for PortSpec {
    /// A port's text says everything that is not the default.
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SimSpec> for PortSpec {
    fn from(sim: SimSpec) -> Self {
        Self(Arc::new(sim))
    }
}

/// The way to a device that is named by its address alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// Linux VFIO.
    #[default]
    Vfio,
    /// barline.ko.
    Kmod,
}

impl Bus {
    const NAMES: [&str; 2] = ["vfio", "kmod"];

    /// The kind of its ports.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Vfio => "pci",
            Self::Kmod => "kmod",
        }
    }
}

impl FromStr for Bus {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "vfio" => Ok(Self::Vfio),
            "kmod" => Ok(Self::Kmod),
            _ => Err(SpecError {
                text: text.to_owned(),
                what: "a bus",
                why: format!("did you mean {}?", nearest(text, Self::NAMES)),
            }),
        }
    }
}

/// Text that names no port, or no bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {why}")]
pub struct SpecError {
    /// What was given.
    pub text: String,
    /// What it should have named.
    pub what: &'static str,
    /// What is wrong, and the nearest that is right.
    pub why: String,
}

/// The headroom that pools have unless they are told: bytes.
const HEADROOM: usize = 128;

impl PortSpec {
    /// A list of ports as in `sim:82576,sim:82576,mode=thread`: an option (`key=value`, or a word that the kind of the
    /// port before it takes) belongs to the port before it. So no name or value can have a comma.
    ///
    /// # Errors
    /// [`SpecError`] about the first part that is wrong, or a third port on a simulated wire.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, SpecError> {
        Self::parse_list_on(Bus::Vfio, list)
    }

    /// Like [`PortSpec::parse_list`], with addresses alone on `bus`.
    ///
    /// # Errors
    /// As [`PortSpec::parse_list`].
    pub fn parse_list_on(bus: Bus, list: &str) -> Result<Vec<Self>, SpecError> {
        let mut ports: Vec<String> = Vec::new();
        for part in list.split(',').map(str::trim) {
            match ports.last_mut() {
                Some(port) if is_option(port, part) => *port = format!("{port},{part}"),
                _ => ports.push(part.to_owned()),
            }
        }
        let parse = |(at, port): (usize, &String)| {
            Self::parse_on(bus, port).map_err(|error| {
                let before = at.checked_sub(1).and_then(|before| ports.get(before));
                if port.is_empty() && ports.len() > 1 {
                    let why = match at + 1 == ports.len() {
                        true => "there is nothing behind the last comma; leave it out",
                        false => "there is nothing between two commas; leave one out",
                    };
                    return SpecError {
                        why: why.to_owned(),
                        ..error
                    };
                }
                let meant = before.and_then(|before| guess::option(before, port));
                let why = meant.unwrap_or(error.why);
                SpecError { why, ..error }
            })
        };
        let specs = ports
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        two_ends(&specs)?;
        Ok(specs)
    }

    fn parse_on(bus: Bus, text: &str) -> Result<Self, SpecError> {
        let target = parse(bus, text).map_err(|why| SpecError {
            text: text.to_owned(),
            what: "a port",
            why,
        })?;
        Ok(Self(Arc::from(target)))
    }

    /// Whether it is a simulated device: one that receives an application's feed.
    pub fn is_simulated(&self) -> bool {
        self.0.is_simulated()
    }

    /// The headroom in bytes of a pool for these ports: some leave a part of a buffer free whatever the pool's headroom is, and
    /// with as much of it the whole data room is left for frames.
    pub fn pool_headroom(ports: &[Self]) -> usize {
        let most = ports.iter().map(|port| port.0.headroom()).max();
        most.unwrap_or(0).max(HEADROOM)
    }

    pub(crate) fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        self.0.open(opener)
    }
}

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse_on(Bus::Vfio, text)
    }
}

/// A simulated cable has two ends: a third port would be alone on another one of the same name.
fn two_ends(specs: &[PortSpec]) -> Result<(), SpecError> {
    for (at, spec) in specs.iter().enumerate() {
        let Some(wire) = spec.0.wire() else { continue };
        let before = specs[..at].iter().filter(|other| other.0.wire() == Some(wire));
        if before.count() == 2 {
            return Err(SpecError {
                text: spec.to_string(),
                what: "a port",
                why: format!("both ends of wire={wire} are taken; give this pair a wire of its own"),
            });
        }
    }
    Ok(())
}

/// The kind that a port's text begins with.
pub(crate) fn kind_of(text: &str) -> Option<(&'static Kind, &str)> {
    let (name, rest) = text.split_once(':')?;
    Some((kind(name)?, rest))
}

/// Whether `part` belongs to the port before it.
fn is_option(port: &str, part: &str) -> bool {
    let key = part.split(':').next().unwrap_or_default();
    key.contains('=') || kind_of(port).is_some_and(|(kind, _)| kind.flags.contains(&part))
}

fn parse(bus: Bus, text: &str) -> Result<Box<dyn Target>, String> {
    if let Some(wrapped) = wraps::parse(text, |port| parse(bus, port)) {
        return wrapped;
    }
    parse_bare(bus, text).map_err(|why| wraps::guess(text).unwrap_or(why))
}

/// A port with nothing around it.
fn parse_bare(bus: Bus, text: &str) -> Result<Box<dyn Target>, String> {
    let (port, options) = text.split_once(',').unwrap_or((text, ""));
    if let Some((kind, name)) = kind_of(port) {
        return (kind.parse)(&Given { bus, name, options });
    }
    match Pci::parse(bus, port, options) {
        Ok(pci) => Ok(Box::new(pci)),
        Err(why) => Err(guess::guess(port, options).unwrap_or(why)),
    }
}

#[cfg(test)]
mod tests;
