//! Messages that the `vhost` crate (0.18) does not know or refuses too early; read and answered here.
//!
//! * SET_STATUS, GET_STATUS, NET_SET_MTU, SEND_RARP, SET_LOG_FD: it ends the connection.
//! * SET_VRING_ENABLE: it ends it before SET_FEATURES, where QEMU sends the first ones.

use crate::device::Device;
use barline::port::MacAddress;
use nix::sys::socket::{MsgFlags, recv};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};

/// Request, flags, size (vhost-user, "Header").
const HEADER: usize = 12;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;
const VERSION: u32 = 1;

/// A header, looked at and left where it is.
struct Header {
    request: FrontendReq,
    flags: u32,
    size: u32,
}

fn peek(socket: &UnixStream) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    let seen = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)?;
    let mut words = bytes
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes(word.try_into().unwrap_or_default()));
    let (Some(request), Some(flags), Some(size)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let request = FrontendReq::try_from(request).ok().filter(|_| seen == HEADER);
    Ok(request.map(|request| Header { request, flags, size }))
}

/// The longest message from an MTU that fits any buffer.
const MOST_MTU: u64 = 65_535;

/// Handles the next message if it is one of these; whether it was. Waits until there is one.
pub(crate) fn handle(socket: &mut UnixStream, device: &mut Device) -> io::Result<bool> {
    use FrontendReq::{GET_STATUS, NET_SET_MTU, SEND_RARP, SET_LOG_FD, SET_STATUS, SET_VRING_ENABLE};
    let Some(Header { request, flags, size }) = peek(socket)? else {
        return Ok(false);
    };
    let expected = match request {
        SET_STATUS | NET_SET_MTU | SEND_RARP | SET_VRING_ENABLE => 8,
        GET_STATUS | SET_LOG_FD => 0,
        _ => return Ok(false),
    };
    if size != expected || flags & 3 != VERSION || flags & REPLY != 0 {
        return Ok(false); // the crate says what is wrong with it
    }
    let mut message = [0; HEADER + 8];
    // A file descriptor that comes along is closed by the kernel.
    socket.read_exact(&mut message[..HEADER + size as usize])?;
    let value = u64::from_ne_bytes(message[HEADER..].try_into().unwrap_or_default());
    let done = match request {
        SET_STATUS => {
            device.set_status(value as u8);
            true
        }
        GET_STATUS => {
            return reply(socket, request, u64::from(device.status)).map(|()| true);
        }
        NET_SET_MTU => (68..=MOST_MTU).contains(&value),
        SET_VRING_ENABLE => {
            let (index, on) = (value as u32, value >> 32);
            on < 2 && device.enable(index, on == 1).is_ok()
        }
        SEND_RARP => {
            let [a, b, c, d, e, f, ..] = value.to_ne_bytes();
            device.announce(MacAddress([a, b, c, d, e, f]))
        }
        _ => true,
    };
    if flags & NEED_REPLY != 0 && device.protocol & VhostUserProtocolFeatures::REPLY_ACK.bits() != 0 {
        reply(socket, request, u64::from(!done))?;
    }
    Ok(true)
}

fn reply(socket: &mut UnixStream, request: FrontendReq, value: u64) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEADER + 8);
    for word in [u32::from(request), VERSION | REPLY, 8] {
        message.extend(word.to_ne_bytes());
    }
    message.extend(value.to_ne_bytes());
    socket.write_all(&message)
}
