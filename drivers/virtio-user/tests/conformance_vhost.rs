//! The suite on the vhost-user port, with this port at the other end of the socket. It stands here because that crate's tests do not
//! know this one.

#[path = "common/excuses.rs"]
mod excuses;
#[path = "common/far.rs"]
mod far;

use barline::port::{Port, PortError};
use barline_conformance::{Nature, Station, Subject};
use barline_vhost::{Options, Vhost};
use barline_virtio_user::{Settings, VirtioUser};
use excuses::End;
use far::PortFar;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
struct OnVirtioUser;

/// A driver side with as many queues as the port was started with.
fn reach(path: &Path) -> Option<(Box<dyn Port>, u16)> {
    for pairs in [4u16, 2, 1] {
        let settings = Settings::parse(&format!("queues={pairs}")).unwrap();
        match VirtioUser::open(path, settings) {
            Ok(port) => return Some((Box::new(port), pairs)),
            Err(error) if error.to_string().contains("pairs of queues") => {}
            // Not there yet: with all of its queues it will be.
            Err(_) => return None,
        }
    }
    None
}

fn station() -> Station {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let far = Arc::new(PortFar::new(Box::new(move || reach(&path)), true));
    let open = Box::new(move || {
        let options = Options::new(dir.path().join("s"));
        let port = Vhost::open(&options).map_err(|error| PortError::Config(error.to_string()))?;
        Ok::<_, PortError>(Box::new(port) as Box<dyn Port>)
    });
    Station { open, far }
}

impl Subject for OnVirtioUser {
    fn bench(&self, ports: usize) -> Vec<Station> {
        (0..ports).map(|_| station()).collect()
    }

    fn nature(&self) -> Nature {
        Nature {
            limits_lengths: true,
            ..Nature::default()
        }
    }

    fn excuse(&self, case: &str) -> Option<String> {
        excuses::excuse(End::BackEnd, case)
    }
}

barline_conformance::conformance!(crate::OnVirtioUser);
