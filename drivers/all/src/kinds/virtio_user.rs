//! `virtio-user:/tmp/socket,server,queues=2,packed=off`.

use super::{Given, Kind, Target};
use crate::opened::Fresh;
use crate::{OpenError, Opener};
use barline::mem::DmaDomain;
use barline_virtio_user::{Settings, VirtioUser};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    name: "virtio-user",
    form: "virtio-user:SOCKET|/dev/vhost-net,tap=NAME[,server,queues=N,packed|mrg|in-order|event-idx=on|off]",
    about: "the driver's side of a vhost-user socket, or of the kernel's vhost-net; server: it listens",
    example: "virtio-user:/tmp/socket",
    flags: &[SERVER],
    parse,
};

const SERVER: &str = "server";

#[derive(Debug)]
struct User {
    path: PathBuf,
    settings: Settings,
}

fn parse(given: &Given<'_>) -> Result<Box<dyn Target>, String> {
    if given.name.is_empty() {
        return Err(format!("it names no socket; write {}", KIND.example));
    }
    let settings = Settings::parse(given.options).map_err(|error| error.to_string())?;
    let checked = settings.check(Path::new(given.name));
    checked.map_err(|error| error.to_string())?;
    let path = PathBuf::from(given.name);
    Ok(Box::new(User { path, settings }))
}

impl Target for User {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        let port = VirtioUser::open(&self.path, self.settings);
        let port = port.map_err(|source| OpenError::port(self, source))?;
        opener.remember(&(port.domain().clone() as Arc<dyn DmaDomain>));
        Ok(Fresh::new(Box::new(port)))
    }
}

/// What is not the default is said.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, settings } = self;
        let (default, rings) = (Settings::default(), &settings.rings);
        write!(f, "{}:{}", KIND.name, path.display())?;
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
}

#[cfg(test)]
mod tests {
    use crate::PortSpec;

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
