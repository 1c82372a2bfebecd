//! What only rtnetlink(7) says of an interface (`linux/if_link.h`): its XDP program, and its statistics.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::io;
use std::os::fd::AsRawFd;

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
pub(crate) const ERROR: u16 = 2;
pub(crate) const REQUEST: u16 = 1;
/// Of messages and of what is in them.
pub(crate) const HEADER: usize = 16;
const LINK: usize = 16;
/// `IFLA_XDP`, and in it the program, or those of driver and SKB mode.
const XDP: u16 = 43;
const PROGRAMS: std::ops::RangeInclusive<u16> = 4..=7;
/// `IFLA_STATS64`, and in its `struct rtnl_link_stats64` the eighth number.
const STATISTICS: u16 = 23;
const TX_DROPPED: usize = 7 * 8;

/// The number of the XDP program that an interface has, if it has one.
///
/// # Errors
/// The kernel's word; there is no such interface.
pub fn program_on(interface: &str) -> io::Result<Option<u32>> {
    program_of(nix::net::if_::if_nametoindex(interface)?)
}

/// The same, by the interface's number.
///
/// # Errors
/// As [`program_on`].
pub fn program_of(index: u32) -> io::Result<Option<u32>> {
    ask(index, program)
}

/// Frames that the kernel had for an interface and that found no room.
pub(crate) fn tx_dropped(index: u32) -> io::Result<u64> {
    ask(index, dropped)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Asks for all that the kernel tells of an interface, and reads one thing of it.
fn ask<T>(index: u32, read: fn(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    let answer = talk(GETLINK, REQUEST, index, &[])?;
    for (kind, body) in messages(&answer) {
        match kind {
            NEWLINK => return Ok(read(body)),
            ERROR => return Err(error(body).into()),
            _ => {}
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData))
}

/// The kernel's word in a message that says whether something was done.
pub(crate) fn error(body: &[u8]) -> Errno {
    Errno::from_raw((word(body, 0) as i32).wrapping_neg())
}

/// Sends a request about an interface; the kernel's first answer.
fn talk(kind: u16, flags: u16, index: u32, attributes: &[u8]) -> nix::Result<Vec<u8>> {
    let len = HEADER + LINK + attributes.len();
    let mut request = Vec::with_capacity(len);
    request.extend((len as u32).to_ne_bytes());
    request.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    request.extend([0; 8]); // number of the message, sender
    request.extend([0; 4]); // any family, any type
    request.extend(index.to_ne_bytes());
    request.extend([0; 8]); // flags and a mask of them
    request.extend(attributes);
    send_and_receive(SockProtocol::NetlinkRoute, &request)
}

/// Sends a request to one of netlink's protocols; the kernel's first answer.
pub(crate) fn send_and_receive(protocol: SockProtocol, request: &[u8]) -> nix::Result<Vec<u8>> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(netlink.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = vec![0; 1 << 16];
    let len = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(len);
    Ok(answer)
}

/// Sets the XDP program of an interface as `ip link set dev X xdp` does: by its descriptor, or -1 for none. `mode`:
/// `XDP_FLAGS_...` (`linux/if_link.h`).
///
/// # Errors
/// The kernel's word.
#[cfg(feature = "testing")]
pub fn set_xdp(index: u32, program: i32, mode: u32) -> nix::Result<()> {
    const SETLINK: u16 = 19;
    const ACKNOWLEDGE: u16 = 4;
    const NESTED: u16 = 1 << 15;
    let attribute = |kind: u16, body: &[u8]| {
        let head = [(body.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
        [&head, body].concat()
    };
    // `IFLA_XDP_FD`, `IFLA_XDP_FLAGS`.
    let parts = [
        attribute(1, &program.to_ne_bytes()),
        attribute(3, &mode.to_ne_bytes()),
    ]
    .concat();
    let answer = talk(
        SETLINK,
        REQUEST | ACKNOWLEDGE,
        index,
        &attribute(XDP | NESTED, &parts),
    )?;
    let done = messages(&answer).find(|(kind, _)| *kind == ERROR);
    match done.map(|(_, body)| error(body)) {
        Some(errno) if errno as i32 == 0 => Ok(()),
        Some(errno) => Err(errno),
        None => Err(Errno::EBADMSG),
    }
}

/// The program in a message about an interface.
fn program(body: &[u8]) -> Option<u32> {
    let (_, xdp) = attributes(body.get(LINK..)?).find(|(kind, _)| *kind == XDP)?;
    let (_, id) = attributes(xdp).find(|(kind, _)| PROGRAMS.contains(kind))?;
    Some(word(id, 0)).filter(|id| *id != 0)
}

/// The drops in a message about an interface.
fn dropped(body: &[u8]) -> Option<u64> {
    let (_, numbers) = attributes(body.get(LINK..)?).find(|(kind, _)| *kind == STATISTICS)?;
    let number = numbers.get(TX_DROPPED..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*number))
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
pub(crate) fn messages(text: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    parts(text, HEADER, |head| word(head, 0) as usize).map(|part| (half(part, 4), &part[HEADER..]))
}

/// Kind and body of each attribute.
pub(crate) fn attributes(text: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    // The upper two bits of a kind say that it is nested, or whose byte order it has.
    parts(text, 4, |head| half(head, 0).into()).map(|part| (half(part, 2) & 0x3fff, &part[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (_, body) in messages(&bytes) {
                program(body);
                dropped(body);
            }
            program(&bytes);
            dropped(&bytes);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
        }
    }

    #[test]
    fn the_loopback_interface_is_there_and_another_one_is_not() {
        assert_eq!(program_on("lo").unwrap(), None);
        assert!(tx_dropped(nix::net::if_::if_nametoindex("lo").unwrap()).is_ok());
        assert_eq!(
            program_of(0x7fff_fff0).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    }
}
