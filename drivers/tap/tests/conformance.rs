//! The suite, with a packet socket at the kernel's side of the interface.

use barline::port::{Port, PortError};
use barline_conformance::{FarEnd, Station, Subject};
use barline_netif::testing::{RawSocket, enter, fresh, ip};
use barline_tap::Tap;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
struct OnTap;

#[derive(Debug)]
struct TapFar {
    name: String,
    /// Made when it is first used: the interface comes with the port.
    socket: Mutex<Option<RawSocket>>,
}

impl TapFar {
    fn with<R>(&self, call: impl Fn(&RawSocket) -> R) -> Option<R> {
        let mut socket = self.socket.lock().unwrap();
        if socket.is_none() {
            *socket = RawSocket::open(&self.name).ok();
        }
        socket.as_ref().map(call)
    }
}

impl FarEnd for TapFar {
    fn inject(&self, frame: &[u8]) -> bool {
        let send = || self.with(|socket| socket.send(frame)) == Some(true);
        // Longer than the port lets the interface send: somebody else does.
        send() || (ip(&format!("link set {} mtu 9600", self.name)).is_ok() && send())
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.with(RawSocket::receive).flatten()
    }

    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    fn set_link(&self, up: bool) -> bool {
        let state = if up { "up" } else { "down" };
        ip(&format!("link set {} {state}", self.name)).is_ok()
    }

    fn remove(&self) -> bool {
        ip(&format!("link del {}", self.name)).is_ok()
    }
}

fn station() -> Station {
    let name = fresh("bt");
    let far = Arc::new(TapFar {
        name: name.clone(),
        socket: Mutex::new(None),
    });
    let ours = far.clone();
    let open = Box::new(move || {
        // The interface of a port that was dropped is gone, and what listened at it hears nothing any more.
        *ours.socket.lock().unwrap() = None;
        let port = Tap::open(&name).map_err(|error| PortError::Config(error.to_string()))?;
        ip(&format!("link set {name} arp off")).map_err(PortError::Config)?;
        let port = Box::new(port) as Box<dyn Port>;
        ours.with(|_| ());
        Ok(port)
    });
    Station { open, far }
}

impl Subject for OnTap {
    fn bench(&self, ports: usize) -> Vec<Station> {
        (0..ports).map(|_| station()).collect()
    }

    fn excuse(&self, case: &str) -> Option<String> {
        if let Some(why) = lacking() {
            return Some(why);
        }
        let why = match case {
            "every_frame_is_in_one_counter" => "the kernel has no shortest frame",
            "the_device_counts_what_we_count" => "the kernel counts what it receives at the interface",
            "packets_of_an_unmapped_pool_are_dropped_and_counted" => "the kernel reaches all memory",
            "an_open_checksum_is_completed" => {
                "a packet socket is shown what the kernel has not summed up yet; tests/offload.rs has sockets that are not"
            }
            "a_long_packet_is_cut_by_a_device_that_can" => {
                "the kernel takes long packets as they are; tests/offload.rs looks at what it makes of them"
            }
            "a_removed_device_does_not_start" => "the port makes the interface anew",
            _ => return None,
        };
        Some(why.to_owned())
    }
}

fn lacking() -> Option<String> {
    let tun = std::fs::File::open("/dev/net/tun").err();
    enter()
        .err()
        .or(tun.map(|error| format!("no /dev/net/tun: {error}")))
}

barline_conformance::conformance!(crate::OnTap);
