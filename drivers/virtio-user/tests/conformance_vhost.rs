//! The suite on the vhost-user port, with this port at the other end of the socket. It stands here because that crate's tests do not
//! know this one.

#[path = "common/far.rs"]
mod far;

use barline::port::{Port, PortError};
use barline_conformance::{Nature, Station, Subject};
use barline_vhost::{Options, Vhost};
use barline_virtio_user::{Settings, VirtioUser};
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
        let why = match case {
            "a_stopped_port_changes_nothing" | "promiscuous_and_multicast_are_settings_of_their_own" => {
                "there is no filter: it receives what its peer sends"
            }
            "every_frame_is_in_one_counter" => "the peer keeps what finds no room",
            "the_device_counts_what_we_count" => "the port is the device",
            "packets_of_an_unmapped_pool_are_dropped_and_counted" => "frames are copied, of whichever pool",
            "an_empty_pool_shortens_the_ring_which_recovers" => {
                "a buffer is taken when a frame comes; without one the frame waits with the peer"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }
}

barline_conformance::conformance!(crate::OnVirtioUser);
