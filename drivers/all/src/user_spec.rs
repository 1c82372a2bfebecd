//! `virtio-user:/tmp/socket,server,queues=2,packed=off`.

use crate::PortSpec;
use barline_virtio_user::Settings;
use std::fmt;
use std::path::{Path, PathBuf};

/// What such a port is called before the colon.
pub(crate) const NAME: &str = "virtio-user";
/// The one option that has no value: it listens.
const SERVER: &str = "server";

/// Whether `part` is an option without a value of the port before it.
pub(crate) fn is_flag(port: &str, part: &str) -> bool {
    part == SERVER && port.split_once(':').is_some_and(|(name, _)| name == NAME)
}

/// What comes behind the name and its colon.
pub(crate) fn parse(path: &str, options: &str) -> Result<PortSpec, String> {
    if path.is_empty() {
        return Err(format!("it names no socket; write {NAME}:/tmp/socket"));
    }
    let settings = Settings::parse(options).map_err(|error| error.to_string())?;
    settings
        .check(Path::new(path))
        .map_err(|error| error.to_string())?;
    Ok(PortSpec::VirtioUser(PathBuf::from(path), settings))
}

/// What is not the default is said.
pub(crate) fn write(path: &Path, settings: &Settings, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (default, rings) = (Settings::default(), &settings.rings);
    write!(f, "{NAME}:{}", path.display())?;
    if settings.server {
        write!(f, ",{SERVER}")?;
    }
    if let Some(tap) = settings.tap {
        write!(f, ",tap={tap}")?;
    }
    if settings.queues != default.queues {
        write!(f, ",queues={}", settings.queues)?;
    }
    for (name, is, was) in [
        ("packed", Some(rings.packed), Some(default.rings.packed)),
        ("mrg", Some(rings.merge), Some(default.rings.merge)),
        ("in-order", Some(rings.in_order), Some(default.rings.in_order)),
        ("event-idx", rings.event_idx, default.rings.event_idx),
    ] {
        if let Some(is) = is.filter(|_| is != was) {
            write!(f, ",{name}={}", if is { "on" } else { "off" })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "virtio-user:/tmp/a",
            "virtio-user:a=b,server,queues=2,packed=off,mrg=on",
            "virtio-user:/tmp/a,in-order=off,event-idx=off",
            "virtio-user:/dev/vhost-net,tap=tap0,queues=2",
        ] {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn options_belong_to_the_port_before_them() {
        let list = "virtio-user:/tmp/a,server,queues=3,virtio-user:/tmp/b,mrg=off,null:";
        let names: Vec<_> = PortSpec::parse_list(list)
            .unwrap()
            .iter()
            .map(PortSpec::to_string)
            .collect();
        assert_eq!(
            names,
            [
                "virtio-user:/tmp/a,server,queues=3",
                "virtio-user:/tmp/b",
                "null:size=64"
            ]
        );
        assert!(PortSpec::parse_list("null:,server").is_err());
    }

    #[test]
    fn slips_are_answered() {
        for (text, near) in [
            ("virtio-user:", "virtio-user:/tmp/socket"),
            ("virtio-user:/a,queues=0", "queues=1"),
            ("virtio-user:/a,packed=no", "packed=off"),
            ("virtio-user:/a,pakced=off", "packed"),
            ("virtio-user:/dev/vhost-net", "tap=NAME"),
            ("virtio-user:/a,tap=b", "/dev/vhost-net"),
            ("virtio-usr:/tmp/a", "virtio-user:/tmp/a"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains(near), "{text}: {error}");
        }
    }
}
