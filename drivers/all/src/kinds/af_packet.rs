//! `af_packet:eth0,fanout=hash`: any Ethernet interface of the kernel.

use super::{Given, Kind, Target, no_option};
use crate::near::nearest;
use crate::opened::Fresh;
use crate::{Fault, OpenError, Opener};
use barline_af_packet::{AfPacket, AfPacketError, Fanout, Options};
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "af_packet",
    form: "af_packet:INTERFACE[,fanout=hash|lb|cpu|rollover|rnd|qm]",
    about: "an interface of the kernel, which keeps it too; needs CAP_NET_RAW",
    example: "af_packet:eth0",
    flags: &[],
    parse,
};

#[derive(Debug)]
struct AfPacketSpec(Options);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    if given.name.is_empty() {
        return Err(format!("it names no interface; write {}", KIND.example));
    }
    if let Some((interface, _)) = given.name.split_once(':') {
        return Err(format!(
            "a name has no colon, and addresses do not matter; write af_packet:{interface}"
        ));
    }
    let mut options = Options::new(given.name);
    for (key, value) in given.options() {
        let "fanout" = key else {
            return Err(no_option(key, &["fanout="]));
        };
        options.fanout = value.parse().map_err(|()| {
            let near = nearest(value, Fanout::ALL.iter().map(|(name, _)| *name));
            format!("there is no fanout {value:?}; did you mean fanout={near}?")
        })?;
    }
    Ok(Box::new(AfPacketSpec(options)))
}

impl Target for AfPacketSpec {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let refused = |error: AfPacketError| {
            let fault = match error {
                AfPacketError::Interface(_) | AfPacketError::Twice { .. } => Fault::Usage,
                AfPacketError::NotAllowed { .. }
                | AfPacketError::NoSockets
                | AfPacketError::NoMemory { .. } => Fault::Machine,
                _ => Fault::Run,
            };
            OpenError::refused(self, fault, error)
        };
        let port = AfPacket::open(&self.0, opener.claims()).map_err(refused)?;
        Ok(Fresh::new(Box::new(port)))
    }
}

/// What is not the default is said.
impl fmt::Display for AfPacketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", KIND.name, self.0.interface)?;
        match self.0.fanout == Fanout::default() {
            true => Ok(()),
            false => write!(f, ",fanout={}", self.0.fanout),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

    #[test]
    fn what_is_written_is_what_was_read_and_slips_are_answered() {
        let spec: PortSpec = "af_packet:eth0.7,fanout=cpu".parse().unwrap();
        assert_eq!(spec.to_string(), "af_packet:eth0.7,fanout=cpu");
        for (text, near) in [
            ("af_packet:", "write af_packet:eth0"),
            ("af_packet:eth0,fanout=hsah", "did you mean fanout=hash?"),
            ("af_packet:eth0,fanuot=hash", "did you mean fanout=?"),
            ("afpacket:eth0", "did you mean af_packet:eth0?"),
            (
                "af-packet:eth0,fanout=lb",
                "did you mean af_packet:eth0,fanout=lb?",
            ),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(near), "{text}: {error}");
        }
    }
}
