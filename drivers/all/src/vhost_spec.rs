//! `vhost-user:/tmp/socket,client,queues=2,packed=off`.

use crate::spec::nearest;
use barline_vhost::{Features, MOST_QUEUES, Options};
use std::fmt;

/// What such a port is called before the colon.
pub(crate) const NAME: &str = "vhost-user";
/// The one option that has no value: the other side listens.
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

/// Whether `part` is an option without a value of the port before it.
pub(crate) fn is_flag(port: &str, part: &str) -> bool {
    part == CLIENT && port.split_once(':').is_some_and(|(name, _)| name == NAME)
}

/// What comes behind the name and its colon.
pub(crate) fn parse(path: &str, options: &str) -> Result<Options, String> {
    if path.is_empty() {
        return Err(format!("it names no socket; write {NAME}:/tmp/socket"));
    }
    let mut parsed = Options::new(path);
    let given = options.split(',').filter(|option| !option.is_empty());
    given
        .into_iter()
        .try_for_each(|option| set(&mut parsed, option))?;
    Ok(parsed)
}

fn set(options: &mut Options, option: &str) -> Result<(), String> {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    match (key, value) {
        (CLIENT, "") => options.client = true,
        ("queues", number) => {
            let number = number.parse().ok().filter(|n| (1..=MOST_QUEUES).contains(n));
            options.queues = number.ok_or_else(|| format!("write queues=1 to queues={MOST_QUEUES}"))?;
        }
        _ => {
            let switch = SWITCHES.iter().find(|(name, _)| *name == key);
            let Some((name, place)) = switch else {
                let known: Vec<_> = SWITCHES
                    .iter()
                    .map(|(name, _)| *name)
                    .chain([CLIENT, "queues"])
                    .collect();
                return Err(format!(
                    "there is no option {key:?}; did you mean {}?",
                    nearest(key, &known)
                ));
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

/// What is not the default is said.
pub(crate) fn write(options: &Options, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{NAME}:{}", options.path.display())?;
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
