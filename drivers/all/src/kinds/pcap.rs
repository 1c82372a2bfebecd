//! `pcap:rx=in.pcap,tx=out.pcapng,loop,pace=original`: capture files.

use super::{Given, Kind, Target, no_option};
use crate::opened::{Fresh, Input};
use crate::{Fault, OpenError, Opener};
use barline_pcap::{Options, Pace, Pcap, PcapError};
use std::fmt;
use std::path::PathBuf;

pub(super) const KIND: Kind = Kind {
    name: "pcap",
    form: "pcap:[rx=FILE],[tx=FILE][,loop,pace=original|max]",
    about: "receives the frames of one capture file, writes what it sends to another",
    example: "pcap:rx=in.pcap,tx=out.pcapng",
    flags: &[LOOP],
    parse,
};

const LOOP: &str = "loop";

#[derive(Debug)]
struct PcapSpec(Options);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    let mut options = Options::default();
    for (key, value) in given.all() {
        let file = || match value {
            "" => Err(format!("write {key}=FILE")),
            value => Ok(Some(PathBuf::from(value))),
        };
        match (key, value) {
            ("rx", _) => options.rx = file()?,
            ("tx", _) => options.tx = file()?,
            (LOOP, "") => options.repeat = true,
            ("pace", "original") => options.pace = Pace::Original,
            ("pace", "max") => options.pace = Pace::Max,
            ("pace", _) => return Err("write pace=original or pace=max".to_owned()),
            // A path where rx= is missing, as other programs take it.
            (path, "") if path.contains(['.', '/']) => {
                return Err(format!("did you mean pcap:rx={path}?"));
            }
            ("in" | "read" | "from", _) => return Err(no_option(key, &["rx="])),
            ("out" | "write" | "to", _) => return Err(no_option(key, &["tx="])),
            _ => return Err(no_option(key, &["rx=", "tx=", LOOP, "pace="])),
        }
    }
    if options.rx.is_none() && options.tx.is_none() {
        return Err(format!("it names no file; write {}", KIND.example));
    }
    if options.rx.is_none() && (options.repeat || options.pace != Pace::default()) {
        return Err("loop and pace are for rx=FILE; leave them out".to_owned());
    }
    Ok(Box::new(PcapSpec(options)))
}

impl Target for PcapSpec {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        let refused = |error: PcapError| {
            let fault = match error.is_of_the_machine() {
                true => Fault::Machine,
                false => Fault::Usage,
            };
            OpenError::refused(self, fault, error)
        };
        let port = Pcap::open(&self.0).map_err(refused)?;
        let input = match self.0.rx {
            Some(_) => Input::Ends(port.dry()),
            None => Input::Own,
        };
        Ok(Fresh::new(Box::new(port)).fed(input))
    }
}

/// What is not the default is said.
impl fmt::Display for PcapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { rx, tx, repeat, pace } = &self.0;
        let mut mark = ':';
        f.write_str(KIND.name)?;
        for (key, path) in [("rx", rx), ("tx", tx)] {
            if let Some(path) = path {
                write!(f, "{mark}{key}={}", path.display())?;
                mark = ',';
            }
        }
        if *repeat {
            write!(f, ",{LOOP}")?;
        }
        match pace {
            Pace::Max => Ok(()),
            Pace::Original => f.write_str(",pace=original"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

    #[test]
    fn options_belong_to_the_port_before_them_and_slips_are_answered() {
        let list = "pcap:rx=a:b.pcap,tx=/tmp/c.pcapng,loop,pace=original,pcap:tx=d,sim:82576";
        let texts: Vec<_> = PortSpec::parse_list(list)
            .unwrap()
            .iter()
            .map(PortSpec::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "pcap:rx=a:b.pcap,tx=/tmp/c.pcapng,loop,pace=original",
                "pcap:tx=d",
                "sim:82576"
            ]
        );
        for (text, near) in [
            ("pcap:", "write pcap:rx=in.pcap"),
            ("pcap:a.pcap", "did you mean pcap:rx=a.pcap?"),
            ("pcap:rx=", "write rx=FILE"),
            ("pcap:rx=a,pace=fast", "pace=original"),
            ("pcap:rx=a,lop", "did you mean loop?"),
            ("pcap:tx=a,loop", "leave them out"),
            ("pcpa:rx=a", "did you mean pcap:rx=a?"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(near), "{text}: {error}");
        }
    }
}
