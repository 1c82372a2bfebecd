//! What is written behind a port's path.

use crate::kernel::{DEVICE, TapName};
use barline::port::PortError;
use barline_virtio::Options;
use std::path::Path;

/// Most pairs of queues: as many as most back ends have.
pub const MOST_QUEUES: u16 = 64;

/// How a port meets its back end, and what of its offers is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pairs of queues: `queues=N`.
    pub queues: u16,
    /// Listen at the path, in place of connecting to it: `server`.
    pub server: bool,
    /// The back end is the kernel's vhost-net with this tap behind it: `tap=NAME`.
    pub tap: Option<TapName>,
    /// Features of the rings: `packed=off`, `mrg=on`, `in-order=off`, `event-idx=on`.
    pub rings: Options,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queues: 1,
            server: false,
            tap: None,
            rings: Options::default(),
        }
    }
}

impl Settings {
    /// Names that [`Settings::parse`] knows.
    pub const NAMES: &[&str] = &[
        "queues",
        "packed",
        "mrg",
        "in-order",
        "event-idx",
        "server",
        "tap",
    ];

    const FORMS: &str =
        "queues=N, server, tap=NAME, or one of packed, mrg, in-order, event-idx with =on or =off";

    /// Reads a list as in `queues=2,packed=off,server`.
    ///
    /// # Errors
    /// [`PortError::Config`] about the first part that is wrong.
    pub fn parse(list: &str) -> Result<Self, PortError> {
        let mut settings = Self::default();
        let mut parts = list.split(',').filter(|part| !part.is_empty());
        parts.try_for_each(|part| settings.set(part))?;
        Ok(settings)
    }

    fn set(&mut self, part: &str) -> Result<(), PortError> {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name == "queues" {
            let queues = value
                .parse()
                .ok()
                .filter(|queues| (1..=MOST_QUEUES).contains(queues));
            self.queues = queues.ok_or_else(|| wrong(part, &format!("queues=1 to queues={MOST_QUEUES}")))?;
            return Ok(());
        }
        if name == "tap" {
            let tap =
                TapName::new(value).ok_or_else(|| wrong(part, "tap=NAME, a name of 15 letters at most"))?;
            self.tap = Some(tap);
            return Ok(());
        }
        let on = match (name, value) {
            ("server", "") | (_, "on") => true,
            (_, "off") => false,
            _ if Self::NAMES.contains(&name) => return Err(wrong(part, &format!("{name}=on or {name}=off"))),
            _ => return Err(wrong(part, Self::FORMS)),
        };
        match name {
            "server" => self.server = on,
            "packed" => self.rings.packed = on,
            // As the PCI driver calls it.
            "mrg" => self.rings.merge = on,
            "in-order" => self.rings.in_order = on,
            "event-idx" => self.rings.event_idx = Some(on),
            _ => return Err(wrong(part, Self::FORMS)),
        }
        Ok(())
    }
}

impl Settings {
    /// Whether they go with the path.
    ///
    /// # Errors
    /// [`PortError::Config`]: a tap without vhost-net, or the other way round.
    pub fn check(&self, path: &Path) -> Result<(), PortError> {
        let text = match (path == Path::new(DEVICE), self.tap) {
            (true, None) => format!("{DEVICE} needs a tap; write {DEVICE},tap=NAME"),
            (false, Some(tap)) => format!("tap={tap} goes with {DEVICE} alone"),
            (true, _) if self.server => format!("nobody connects to {DEVICE}; leave server out"),
            _ => return Ok(()),
        };
        Err(PortError::Config(text))
    }
}

fn wrong(part: &str, right: &str) -> PortError {
    PortError::Config(format!(
        "a virtio-user port has no option {part:?}; write {right}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_slips_are_answered() {
        let settings = Settings::parse("queues=2,packed=off,mrg=on,server").unwrap();
        let rings = Options {
            packed: false,
            merge: true,
            ..Options::default()
        };
        assert_eq!(
            settings,
            Settings {
                queues: 2,
                server: true,
                tap: None,
                rings
            }
        );
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        for (text, right) in [
            ("queues=0", "queues=1 to"),
            ("queues=65", "queues=1 to"),
            ("packed", "packed=on or"),
            ("mrgg=on", "mrg"),
            ("server=yes", "server=on"),
            ("tap=", "tap=NAME"),
            ("tap=a/b", "tap=NAME"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(right), "{error}");
        }
    }
}
