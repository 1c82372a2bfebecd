//! What the kernel tells of interfaces, and that something has changed (rtnetlink(7), `linux/if_link.h`).

use barline::port::MacAddress;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// `RTMGRP_LINK`.
const GROUP: u32 = 1;
/// Of messages and of what is in them.
const HEADER: usize = 16;
const LINK: usize = 16;

mod attribute {
    pub const ADDRESS: u16 = 1;
    pub const IFNAME: u16 = 3;
    pub const MTU: u16 = 4;
    pub const LINKINFO: u16 = 18;
    pub const XDP: u16 = 43;
    /// In LINKINFO.
    pub const KIND: u16 = 1;
    /// In XDP: the program, or those of driver and SKB mode.
    pub const PROGRAMS: std::ops::RangeInclusive<u16> = 4..=7;
}

/// `IFF_UP` and `IFF_RUNNING`.
const UP: u32 = 1 | 1 << 6;

/// An interface, as it was when the kernel said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub index: u32,
    pub name: String,
    /// It is up and has a carrier.
    pub up: bool,
    pub mac: Option<MacAddress>,
    pub mtu: u32,
    /// `veth`, `bridge`: what kind of virtual interface; nothing for hardware.
    pub kind: String,
    /// The XDP program's number.
    pub program: Option<u32>,
}

/// News of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Is(Interface),
    Gone(u32),
    /// Some news were lost.
    Lost,
}

/// A socket to the kernel: answers, or news.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    fn with(groups: u32, flags: SockFlag) -> io::Result<Self> {
        let flags = flags | SockFlag::SOCK_CLOEXEC;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(fd))
    }

    /// For news, which never waits.
    pub fn news() -> io::Result<Self> {
        Self::with(GROUP, SockFlag::SOCK_NONBLOCK)
    }

    /// News that are there; none when there are none.
    pub fn next(&self) -> io::Result<Vec<News>> {
        let mut buffer = vec![0; 1 << 16];
        match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => Ok(messages(&buffer[..len])
                .filter_map(|(kind, body)| news(kind, body))
                .collect()),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Vec::new()),
            Err(Errno::ENOBUFS) => Ok(vec![News::Lost]),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks for an interface by its number; `None` where there is none.
pub(crate) fn query(index: u32) -> io::Result<Option<Interface>> {
    let netlink = Netlink::with(0, SockFlag::empty())?;
    let mut request = Vec::with_capacity(HEADER + LINK);
    request.extend(((HEADER + LINK) as u32).to_ne_bytes());
    request.extend([GETLINK.to_ne_bytes(), REQUEST.to_ne_bytes()].concat());
    request.extend([0; 8]); // number of the message, sender
    request.extend([0; 4]); // any family, any type
    request.extend(index.to_ne_bytes());
    request.extend([0; 8]); // flags and a mask of them
    send(netlink.0.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0; 1 << 16];
    let len = recv(netlink.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    for (kind, body) in messages(&buffer[..len]) {
        if let Some(News::Is(interface)) = news(kind, body) {
            return Ok(Some(interface));
        }
        if kind == ERROR {
            let errno = body.get(..4).map_or(0, |word| -word_of(word) as i32);
            return match Errno::from_raw(errno) {
                Errno::ENODEV => Ok(None),
                errno => Err(errno.into()),
            };
        }
    }
    Ok(None)
}

/// The number of the XDP program that an interface has, if it has one.
///
/// # Errors
/// The kernel's word; there is no such interface.
pub fn program_on(interface: &str) -> io::Result<Option<u32>> {
    let index = nix::net::if_::if_nametoindex(interface)?;
    Ok(query(index)?.and_then(|interface| interface.program))
}

fn word_of(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i32::from_ne_bytes).into()
}

/// The parts of a text whose heads are lengths, each part starting at a multiple of 4; a wrong length ends it.
fn parts(mut text: &[u8], head: usize, len_of: fn(&[u8]) -> usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = text.get(..head).map(len_of)?;
        let part = text.get(..len).filter(|_| len >= head)?;
        text = text.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    })
}

fn half(text: &[u8], at: usize) -> u16 {
    text.get(at..at + 2)
        .and_then(|half| half.try_into().ok())
        .map_or(0, u16::from_ne_bytes)
}

fn word(text: &[u8], at: usize) -> u32 {
    text.get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

/// Kind and body of each message.
fn messages(text: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    parts(text, HEADER, |head| word(head, 0) as usize).map(|part| (half(part, 4), &part[HEADER..]))
}

/// Kind and body of each attribute.
fn attributes(text: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    // The upper two bits of a kind say that it is nested, or whose byte order it has.
    parts(text, 4, |head| half(head, 0).into()).map(|part| (half(part, 2) & 0x3fff, &part[4..]))
}

fn text_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn news(kind: u16, body: &[u8]) -> Option<News> {
    // Bridges tell of their ports by messages of another family.
    if !matches!(kind, NEWLINK | DELLINK) || body.len() < LINK || body[0] != 0 {
        return None;
    }
    let index = word(body, 4);
    if kind == DELLINK {
        return Some(News::Gone(index));
    }
    let mut interface = Interface {
        index,
        up: word(body, 8) & UP == UP,
        ..Interface::default()
    };
    for (kind, body) in attributes(&body[LINK..]) {
        match kind {
            attribute::ADDRESS => interface.mac = body.try_into().ok().map(MacAddress),
            attribute::IFNAME => interface.name = text_of(body),
            attribute::MTU => interface.mtu = word(body, 0),
            attribute::LINKINFO => {
                let kind = attributes(body).find(|(kind, _)| *kind == attribute::KIND);
                interface.kind = kind.map_or_else(String::new, |(_, body)| text_of(body));
            }
            attribute::XDP => {
                let program = attributes(body).find(|(kind, _)| attribute::PROGRAMS.contains(kind));
                interface.program = program.map(|(_, body)| word(body, 0)).filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    Some(News::Is(interface))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (kind, body) in messages(&bytes) {
                news(kind, body);
            }
            news(NEWLINK, &bytes);
            let steps = attributes(&bytes).count();
            prop_assert!(steps <= bytes.len() / 4 + 1);
        }
    }

    #[test]
    fn the_loopback_interface_is_there_and_another_one_is_not() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let lo = query(lo).unwrap().unwrap();
        assert_eq!((lo.name.as_str(), lo.program), ("lo", None));
        assert!(lo.mtu >= 1500);
        assert_eq!(query(0x7fff_fff0).unwrap(), None);
    }
}
