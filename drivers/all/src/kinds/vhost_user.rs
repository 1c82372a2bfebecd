//! `vhost-user:/tmp/socket,client,queues=2,packed=off`.

use super::{Given, Kind, Target, no_option, number};
use crate::opened::Fresh;
use crate::{OpenError, Opener};
use barline_vhost::{Features, MOST_QUEUES, Options, Vhost};
use std::fmt;

pub(super) const KIND: Kind = Kind {
    name: "vhost-user",
    form: "vhost-user:SOCKET[,client,queues=N,packed|mrg|in-order|indirect|event-idx=on|off]",
    about: "a virtual machine or another process; client: the other side listens",
    example: "vhost-user:/tmp/socket",
    flags: &[CLIENT],
    parse,
};

const CLIENT: &str = "client";

/// Options that are on or off, and where they are kept.
type Switch = (&'static str, fn(&mut Features) -> &mut bool);
const SWITCHES: &[Switch] = &[
    ("packed", |features| &mut features.packed),
    ("mrg", |features| &mut features.mergeable),
    ("in-order", |features| &mut features.in_order),
    ("indirect", |features| &mut features.indirect),
    ("event-idx", |features| &mut features.event_idx),
];

#[derive(Debug)]
struct VhostUser(Options);

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    if given.name.is_empty() {
        return Err(format!("it names no socket; write {}", KIND.example));
    }
    let mut options = Options::new(given.name);
    given.options().try_for_each(|option| set(&mut options, option))?;
    Ok(Box::new(VhostUser(options)))
}

fn set(options: &mut Options, (key, value): (&str, &str)) -> Result<(), String> {
    match (key, value) {
        (CLIENT, "") => options.client = true,
        ("queues", value) => options.queues = number(key, value, 1, MOST_QUEUES)?,
        _ => {
            let switch = SWITCHES.iter().find(|(name, _)| *name == key);
            let Some((name, place)) = switch else {
                let switches = SWITCHES.iter().map(|(name, _)| *name);
                let known: Vec<_> = switches.chain([CLIENT, "queues"]).collect();
                return Err(no_option(key, &known));
            };
            *place(&mut options.features) = match value {
                "on" => true,
                "off" => false,
                _ => return Err(format!("write {name}=on or {name}=off")),
            };
        }
    }
    Ok(())
}

impl Target for VhostUser {
    fn open(&self, _: &mut Opener) -> Result<Fresh, OpenError> {
        Ok(Fresh::new(Box::new(Vhost::open(&self.0)?)))
    }
}

/// What is not the default is said.
impl fmt::Display for VhostUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        write!(f, "{}:{}", KIND.name, options.path.display())?;
        if options.client {
            write!(f, ",{CLIENT}")?;
        }
        if options.queues != MOST_QUEUES {
            write!(f, ",queues={}", options.queues)?;
        }
        let mut features = options.features;
        for (name, place) in SWITCHES {
            if !*place(&mut features) {
                write!(f, ",{name}=off")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "vhost-user:/tmp/a",
            "vhost-user:/tmp/a,client",
            "vhost-user:a=b,client,queues=2,packed=off,mrg=off",
            "vhost-user:/tmp/a,in-order=off,indirect=off,event-idx=off",
        ] {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn options_belong_to_the_port_before_them() {
        let list = "vhost-user:/tmp/a,client,queues=3,vhost-user:/tmp/b,packed=on,null:";
        let names: Vec<_> = PortSpec::parse_list(list)
            .unwrap()
            .iter()
            .map(PortSpec::to_string)
            .collect();
        assert_eq!(
            names,
            [
                "vhost-user:/tmp/a,client,queues=3",
                "vhost-user:/tmp/b",
                "null:size=64"
            ]
        );
    }

    #[test]
    fn slips_are_answered() {
        for (text, near) in [
            ("vhost-user:", "vhost-user:/tmp/socket"),
            ("vhost-user:/a,queues=0", "queues=1"),
            ("vhost-user:/a,packed=no", "packed=off"),
            ("vhost-user:/a,pakced=off", "did you mean packed?"),
            ("vhost-user:/a,clint", "did you mean client?"),
            ("vhost-usr:/tmp/a", "vhost-user:/tmp/a"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(near), "{text}: {error}");
        }
        assert!(PortSpec::parse_list("null:,client").is_err());
    }
}
