//! What only the kernel's netdev family (`linux/netdev.h`, Linux 6.3) says of an interface, over generic netlink.

use crate::netlink::{ERROR, HEADER, REQUEST, attributes, error, messages, send_and_receive};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::io;

/// The controller, and what it is asked (`linux/genetlink.h`): the number of a family, by its name.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`, and attributes of its question and answer.
const GET_DEVICE: u8 = 1;
const INTERFACE: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ZERO_COPY: u64 = 1 << 3;

/// Whether the driver of an interface has AF_XDP's zero copy; none where the kernel does not say (before Linux 6.3).
///
/// # Errors
/// The kernel's word; there is no such interface.
pub fn zero_copy(index: u32) -> io::Result<Option<bool>> {
    let name = attribute(FAMILY_NAME, b"netdev\0");
    let family = match ask(CONTROLLER, GET_FAMILY, &name) {
        Ok(answer) => find(&answer, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(*id.first_chunk()?))),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(errno.into()),
    };
    let Some(family) = family else { return Ok(None) };
    let answer = ask(family, GET_DEVICE, &attribute(INTERFACE, &index.to_ne_bytes()))?;
    Ok(features(&answer).map(|features| features & ZERO_COPY != 0))
}

fn features(answer: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(*find(answer, XDP_FEATURES)?.first_chunk()?))
}

/// The body of an attribute in a message of generic netlink.
fn find(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(message.get(COMMAND..)?);
    all.find(|(kind, _)| *kind == wanted).map(|(_, body)| body)
}

/// Bytes of the header of generic netlink.
const COMMAND: usize = 4;

fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let head = [(body.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
    let mut text = [&head, body].concat();
    text.resize(text.len().next_multiple_of(4), 0);
    text
}

/// Sends a command to a family; the body of its answer.
fn ask(family: u16, command: u8, attributes: &[u8]) -> nix::Result<Vec<u8>> {
    let len = HEADER + COMMAND + attributes.len();
    let mut request = Vec::with_capacity(len);
    request.extend((len as u32).to_ne_bytes());
    request.extend([family.to_ne_bytes(), REQUEST.to_ne_bytes()].concat());
    request.extend([0; 8]); // number of the message, sender
    request.extend([command, 1, 0, 0]); // the version
    request.extend(attributes);
    let answer = send_and_receive(SockProtocol::NetlinkGeneric, &request)?;
    for (kind, body) in messages(&answer) {
        match kind {
            ERROR => return Err(error(body)),
            kind if kind == family => return Ok(body.to_vec()),
            _ => {}
        }
    }
    Err(Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            features(&bytes);
        }

        #[test]
        fn features_are_found_behind_other_attributes(before in proptest::collection::vec(any::<u8>(), 0..40), bits: u64) {
            let answer = [
                vec![1, 1, 0, 0],
                attribute(2, &before),
                attribute(XDP_FEATURES, &bits.to_ne_bytes()),
            ]
            .concat();
            prop_assert_eq!(features(&answer), Some(bits));
        }
    }

    #[test]
    fn the_loopback_interface_has_none_and_another_one_is_not_there() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        match zero_copy(lo).unwrap() {
            None => eprintln!("SKIPPED: this kernel does not say (Linux 6.3 does)"),
            Some(has) => {
                assert!(!has);
                assert_eq!(
                    zero_copy(0x7fff_fff0).unwrap_err().raw_os_error(),
                    Some(libc::ENODEV)
                );
            }
        }
    }
}
