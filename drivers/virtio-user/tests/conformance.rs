//! The suite on this port, with our own back end at the other end of the socket.

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
use std::sync::Arc;

#[derive(Debug)]
struct OnVhost;

/// Pairs of queues that the back end has.
const PAIRS: u16 = 4;

fn station() -> Station {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let options = Options::new(&path);
    // It listens when the port is opened.
    let back = Vhost::open(&options).unwrap();
    let back = std::sync::Mutex::new(Some(back));
    let again = move || {
        let back = back.lock().unwrap().take();
        let back = back.or_else(|| Vhost::open(&options).ok())?;
        Some((Box::new(back) as Box<dyn Port>, PAIRS))
    };
    let far = Arc::new(PortFar::new(Box::new(again), false));
    let open = Box::new(move || {
        let path = dir.path().join("s");
        let settings = Settings::parse(&format!("queues={PAIRS}"))?;
        let port = VirtioUser::open(&path, settings)?;
        Ok::<_, PortError>(Box::new(port) as Box<dyn Port>)
    });
    Station { open, far }
}

impl Subject for OnVhost {
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
        excuses::excuse(End::Driver, case)
    }
}

barline_conformance::conformance!(crate::OnVhost);
