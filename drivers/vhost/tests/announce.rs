//! A guest that has moved here and cannot say so: its front end has us say it.

mod common;

use common::{Near, until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// SEND_RARP, of version 1, with so many bytes behind the header.
fn send_rarp(flags: u32, mac: [u8; 6]) -> Vec<u8> {
    let mut message: Vec<u8> = [19, 1 | flags, 8u32]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    message.extend(mac);
    message.extend([0; 2]);
    message
}

#[test]
fn its_address_is_received_from_the_first_queue() {
    let mut near = Near::new(2, 1500);
    let mut stream = UnixStream::connect(&near.path).unwrap();
    // A group's address and none at all are no guest's; the connection stands.
    for mac in [[0; 6], [3, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 7]] {
        stream.write_all(&send_rarp(0, mac)).unwrap();
    }
    let mut got = Vec::new();
    until("the announcement", || {
        got.extend(near.receive(0));
        !got.is_empty()
    });
    assert_eq!(got.len(), 1);
    let frame = &got[0];
    assert_eq!(frame.len(), 60);
    assert_eq!(
        frame[..14],
        [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 0x80, 0x35]
    );
    assert!(
        near.receive(0).is_empty() && near.receive(1).is_empty(),
        "it is said once"
    );
    let counters = near.queues.rx[0].counters();
    assert_eq!((counters.rx_packets.get(), counters.rx_bytes.get()), (1, 60));
    // Who wants an answer, and may have one, hears whether there can be such a guest: first REPLY_ACK is agreed upon.
    stream.write_all(&set_protocol_features(1 << 3)).unwrap();
    for (mac, answer) in [([2, 0, 0, 0, 0, 8], 0u64), ([0xff; 6], 1)] {
        stream.write_all(&send_rarp(1 << 3, mac)).unwrap();
        let mut reply = [0; 20];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[12..], answer.to_ne_bytes());
    }
    near.end();
}

/// SET_PROTOCOL_FEATURES.
fn set_protocol_features(features: u64) -> Vec<u8> {
    let mut message: Vec<u8> = [16, 1, 8u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
    message.extend(features.to_ne_bytes());
    message
}
