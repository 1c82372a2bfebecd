//! The port over one end of a veth pair, with a plain packet socket at the other.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::port::{Port, PortError};
use barline_af_packet::{AfPacket, Claims, Fanout, Options};
use barline_conformance::{FarEnd, Station, Subject};
use barline_netif::testing::{RawSocket, enter, ip, veth};
use std::sync::Arc;

/// Both ends of the cable take it.
pub const MTU: u32 = 9600;

#[derive(Debug)]
pub struct OnVeth(pub Fanout);

#[derive(Debug)]
pub struct VethFar {
    pub near: String,
    pub peer: String,
    pub socket: RawSocket,
}

impl FarEnd for VethFar {
    fn inject(&self, frame: &[u8]) -> bool {
        self.socket.send(frame)
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.socket.receive()
    }

    /// A veth hands a frame over before the call that sends it returns.
    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    fn set_link(&self, up: bool) -> bool {
        let state = if up { "up" } else { "down" };
        ip(&format!("link set {} {state}", self.peer)).is_ok()
    }

    fn remove(&self) -> bool {
        ip(&format!("link del {}", self.near)).is_ok()
    }
}

/// Why tests cannot run here.
pub fn lacking() -> Option<String> {
    enter().err()
}

/// A port, not open yet, and its far end.
pub fn station(fanout: Fanout) -> (Station, Arc<VethFar>) {
    let [near, peer] = veth(MTU).expect("a veth pair");
    let socket = RawSocket::open(&peer).expect("a packet socket");
    let options = Options {
        interface: near.clone(),
        fanout,
    };
    let far = Arc::new(VethFar { near, peer, socket });
    let open = Box::new(move || {
        let port = AfPacket::open(&options, &Claims::default())
            .map_err(|error| PortError::Config(error.to_string()))?;
        Ok(Box::new(port) as Box<dyn Port>)
    });
    let station = Station {
        open,
        far: far.clone(),
    };
    (station, far)
}

impl Subject for OnVeth {
    fn bench(&self, ports: usize) -> Vec<Station> {
        (0..ports).map(|_| station(self.0).0).collect()
    }

    fn excuse(&self, case: &str) -> Option<String> {
        if let Some(why) = lacking() {
            return Some(why);
        }
        let why = match case {
            "every_frame_is_in_one_counter" => {
                "a veth has no shortest frame, and the ring is as long as its bytes; tests/counts.rs looks instead"
            }
            "the_device_counts_what_we_count" => {
                "the kernel does not count what a socket sends; tests/counts.rs looks at the rest"
            }
            "an_empty_pool_shortens_the_ring_which_recovers" => {
                "buffers are taken for frames that have come, not before; tests/counts.rs looks at empty pools"
            }
            "packets_of_an_unmapped_pool_are_dropped_and_counted" => "the kernel reaches all memory",
            _ => return None,
        };
        Some(why.to_owned())
    }
}
