//! `af_xdp:eth0,queue=2,mode=copy,busy-poll=64`: any interface of the kernel, through XDP sockets.

use super::{Given, Kind, Target, no_option, number};
use crate::near::nearest;
use crate::opened::Fresh;
use crate::{Fault, OpenError, Opener};
use barline_af_xdp::{AfXdp, HEADROOM, Mode, Options};
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "af_xdp",
    form: "af_xdp:INTERFACE[,queue=N,mode=zerocopy|copy|skb|auto,busy-poll=PACKETS]",
    about: "queues of an interface of the kernel, taken from it; needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF",
    example: "af_xdp:eth0",
    flags: &[],
    parse,
};

const KNOWN: &[&str] = &["queue=", "mode=", "busy-poll="];
/// Beyond it the redirect program's map has no room.
const QUEUES: u32 = 1023;

#[derive(Debug)]
struct AfXdpSpec(Options);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    if given.name.is_empty() {
        return Err(format!("it names no interface; write {}", KIND.example));
    }
    if let Some((interface, queue)) = given.name.split_once(':') {
        let queue = queue.parse().unwrap_or(0u32);
        return Err(format!(
            "a name has no colon; did you mean af_xdp:{interface},queue={queue}?"
        ));
    }
    let mut options = Options::new(given.name);
    for (key, value) in given.options() {
        match key {
            "queue" => options.queue = number(key, value, 0, QUEUES)?,
            "busy-poll" => options.busy_poll = Some(number(key, value, 1, 1024)?),
            "mode" => {
                let mode = Mode::NAMES.iter().find(|(name, _)| *name == value);
                let (_, mode) = mode.ok_or_else(|| {
                    let near = nearest(value, Mode::NAMES.iter().map(|(name, _)| *name));
                    format!("there is no mode {value:?}; did you mean mode={near}?")
                })?;
                options.mode = *mode;
            }
            _ => return Err(no_option(key, KNOWN)),
        }
    }
    Ok(Box::new(AfXdpSpec(options)))
}

impl Target for AfXdpSpec {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let port = AfXdp::open(&self.0, opener.umems()).map_err(|error| {
            let fault = match () {
                () if error.is_usage() => Fault::Usage,
                () if error.is_machine() => Fault::Machine,
                () => Fault::Run,
            };
            OpenError::refused(self, fault, error)
        })?;
        Ok(Fresh::new(Box::new(port)))
    }

    fn headroom(&self) -> usize {
        HEADROOM
    }
}

/// What is not the default is said.
impl fmt::Display for AfXdpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        write!(f, "{}:{}", KIND.name, options.interface)?;
        if options.queue != 0 {
            write!(f, ",queue={}", options.queue)?;
        }
        if options.mode != Mode::default() {
            write!(f, ",mode={}", options.mode)?;
        }
        options
            .busy_poll
            .map_or(Ok(()), |packets| write!(f, ",busy-poll={packets}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "af_xdp:eth0",
            "af_xdp:eth0,queue=2,mode=copy,busy-poll=64",
            "af_xdp:a.b,mode=skb",
        ] {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        let plain: PortSpec = "af_xdp:eth0,queue=0,mode=auto".parse().unwrap();
        assert_eq!(plain.to_string(), "af_xdp:eth0");
    }

    #[test]
    fn slips_are_answered() {
        for (text, near) in [
            ("af_xdp:", "af_xdp:eth0"),
            ("af_xdp:eth0,queue=-1", "queue=0"),
            ("af_xdp:eth0,quue=1", "did you mean queue=?"),
            ("af_xdp:eth0,mode=zerocpy", "mode=zerocopy"),
            ("af_xdp:eth0,busy-poll=0", "busy-poll=1"),
            ("af-xdp:eth0", "af_xdp:eth0"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(near), "{text}: {error}");
        }
    }
}
