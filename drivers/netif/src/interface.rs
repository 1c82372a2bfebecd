use crate::netlink;
use crate::sys::{Ifreq, Request, channels, driver_info, ethtool, names, request, settings};
use barline::port::{Link, MacAddress};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetifError {
    /// No such name.
    #[error("there is no interface {name:?}; {hint}; all of them: ip link")]
    Missing {
        /// As it was given.
        name: String,
        /// What there is.
        hint: String,
    },
    /// It carries something else.
    #[error("{name} carries no Ethernet frames (type {kind} of linux/if_arp.h); use an Ethernet interface")]
    NotEthernet {
        /// Its name.
        name: String,
        /// Its type.
        kind: u16,
    },
    /// The kernel's word.
    #[error("{what}: {error}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// What an interface is and how it is set now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name now.
    pub name: String,
    /// Its address.
    pub mac: MacAddress,
    /// Bytes of a frame without Ethernet header at most.
    pub mtu: u32,
    /// Set up (`ip link set up`).
    pub up: bool,
    /// It has a carrier.
    pub running: bool,
    /// Ethernet frames, as all but tunnels and the like.
    pub ethernet: bool,
    /// Its type (linux/if_arp.h).
    pub kind: u16,
}

/// An interface of the kernel, by its index.
#[derive(Debug)]
pub struct Interface {
    index: i32,
    socket: OwnedFd,
}

/// Mbit/s of an interface that does not say how fast it is: nothing limits it.
const UNLIMITED: u32 = 10_000;
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;

fn named(name: &str) -> Option<Ifreq> {
    // A zero ends it; to the kernel, what is behind a colon is an alias of the interface before it.
    let good = !name.is_empty() && name.len() < libc::IFNAMSIZ && !name.contains(['\0', ':']);
    good.then(|| Ifreq::number(name, 0))
}

impl Interface {
    /// An interface by its name, of any type.
    ///
    /// # Errors
    /// [`NetifError::Missing`]; [`NetifError::Os`] without a file descriptor.
    pub fn find(name: &str) -> Result<Self, NetifError> {
        let os = |error: nix::Error| NetifError::Os {
            what: "socket",
            error: error.into(),
        };
        let socket = socket(
            AddressFamily::Unix,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(os)?;
        let index = named(name).and_then(|mut argument| {
            request(socket.as_fd(), Request::Index, &mut argument).ok()?;
            Some(argument.word())
        });
        match index {
            Some(index) => Ok(Self { index, socket }),
            None => Err(NetifError::Missing {
                name: name.to_owned(),
                hint: hint(),
            }),
        }
    }

    /// The same, of Ethernet frames.
    ///
    /// # Errors
    /// As [`Interface::find`], and [`NetifError::NotEthernet`].
    pub fn ethernet(name: &str) -> Result<(Self, Facts), NetifError> {
        let interface = Self::find(name)?;
        let error = |error| NetifError::Os { what: "ioctl", error };
        let facts = interface.facts().map_err(error)?;
        match facts.ethernet {
            true => Ok((interface, facts)),
            false => Err(NetifError::NotEthernet {
                name: name.to_owned(),
                kind: facts.kind,
            }),
        }
    }

    /// Its index, which stays the same when it is renamed.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// The name that it has now, in a request.
    fn request(&self) -> io::Result<Ifreq> {
        let mut argument = Ifreq::number("", self.index);
        request(self.socket.as_fd(), Request::Name, &mut argument)?;
        argument.value = [0; 24];
        Ok(argument)
    }

    /// Whether it is still in its namespace.
    pub fn is_there(&self) -> bool {
        self.request().is_ok()
    }

    /// All that is known of it.
    ///
    /// # Errors
    /// It is gone.
    pub fn facts(&self) -> io::Result<Facts> {
        let named = self.request()?;
        let ask = |what| {
            let mut argument = named;
            request(self.socket.as_fd(), what, &mut argument).map(|()| argument)
        };
        let (flags, mtu) = (ask(Request::Flags)?.flags(), ask(Request::Mtu)?.word());
        let address = ask(Request::Hwaddr)?.value;
        let kind = u16::from_ne_bytes([address[0], address[1]]);
        let mut mac = [0; 6];
        mac.copy_from_slice(&address[2..8]);
        Ok(Facts {
            name: text(&named.name),
            mac: MacAddress(mac),
            mtu: mtu.unsigned_abs(),
            up: flags & libc::IFF_UP != 0,
            running: flags & libc::IFF_RUNNING != 0,
            ethernet: matches!(kind, ETHERNET | LOOPBACK),
            kind,
        })
    }

    /// Frames that the kernel had for it and dropped, because its driver or that driver's reader had no room.
    ///
    /// # Errors
    /// It is gone, or the kernel's word.
    pub fn tx_dropped(&self) -> io::Result<u64> {
        netlink::tx_dropped(self.index.unsigned_abs())
    }

    /// Its link: up when it is set up and has a carrier. One that is gone has none.
    pub fn link(&self) -> Link {
        let up = self.facts().is_ok_and(|facts| facts.up && facts.running);
        Link {
            up,
            speed: if up { self.speed().unwrap_or(UNLIMITED) } else { 0 },
            full_duplex: true,
        }
    }

    /// Mbit/s, where its driver says.
    pub fn speed(&self) -> Option<u32> {
        let mut command = settings();
        ethtool(self.socket.as_fd(), &self.request().ok()?.name, &mut command).ok()?;
        let bytes = command.bytes();
        // struct ethtool_cmd: speed at 12, speed_hi at 28.
        let half = |at: usize| u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        let speed = half(12) | half(28) << 16;
        (speed != 0 && speed != u32::MAX && speed != u32::from(u16::MAX)).then_some(speed)
    }

    /// Receive queues and transmit queues that are in use, where its driver says.
    pub fn queues(&self) -> Option<(u32, u32)> {
        let mut command = channels();
        ethtool(self.socket.as_fd(), &self.request().ok()?.name, &mut command).ok()?;
        // struct ethtool_channels: the most of rx, tx, other, combined from 4 on; the same in use from 20 on.
        let word = |at: usize| {
            command.bytes()[at..]
                .first_chunk()
                .map(|word| u32::from_ne_bytes(*word))
        };
        let (rx, tx, both) = (word(20)?, word(24)?, word(32)?);
        Some((rx.saturating_add(both), tx.saturating_add(both)))
    }

    /// The kernel's driver, and where on its bus the device is.
    pub fn driver(&self) -> Option<(String, String)> {
        let mut command = driver_info();
        ethtool(self.socket.as_fd(), &self.request().ok()?.name, &mut command).ok()?;
        // struct ethtool_drvinfo: driver at 4, version at 36, firmware at 68, bus at 100, 32 bytes each.
        let bytes = command.bytes();
        Some((text(&bytes[4..36]), text(&bytes[100..132])))
    }
}

/// All interfaces of this thread's network namespace.
///
/// # Errors
/// The kernel's word.
pub fn all() -> io::Result<Vec<Interface>> {
    let names = names()?;
    Ok(names
        .iter()
        .filter_map(|(_, name)| Interface::find(name).ok())
        .collect())
}

/// What there is, for who has named what there is not.
fn hint() -> String {
    let names: Vec<String> = names()
        .unwrap_or_default()
        .into_iter()
        .map(|(_, name)| name)
        .take(8)
        .collect();
    match names.is_empty() {
        true => "there is none here".to_owned(),
        false => format!("there are {}", names.join(", ")),
    }
}

/// Up to the zero that ends it.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_as_it_always_is() {
        let Ok(interface) = Interface::find("lo") else {
            return eprintln!("SKIPPED: this namespace has no interface lo");
        };
        let facts = interface.facts().unwrap();
        assert_eq!((facts.name.as_str(), facts.kind), ("lo", LOOPBACK));
        assert_eq!(facts.mac, MacAddress([0; 6]));
        assert!(facts.mtu >= 68 && facts.ethernet && interface.is_there());
        assert_eq!(interface.link().up, facts.up && facts.running);
        assert!(all().unwrap().iter().any(|one| one.index() == interface.index()));
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_what_there_is() {
        for name in [
            "",
            "no-such-one",
            "a-name-that-is-much-too-long-for-one",
            "a\0b",
            "lo\0",
            "lo:1",
        ] {
            let error = Interface::find(name).unwrap_err();
            assert!(matches!(error, NetifError::Missing { .. }), "{name:?}: {error}");
            let text = error.to_string();
            for part in [
                format!("there is no interface {name:?}").as_str(),
                "all of them: ip link",
            ] {
                assert!(text.contains(part), "{text:?} does not say {part:?}");
            }
        }
    }
}
