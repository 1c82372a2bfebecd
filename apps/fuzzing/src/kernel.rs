//! What comes to ports that are not devices: capture files, and blocks of the kernel's receive rings.

use barline_pcap::Capture;

/// A capture file, as a `pcap:` port reads it.
pub fn pcap_port(bytes: &[u8]) {
    let Ok(mut capture) = Capture::new(bytes) else {
        return;
    };
    let (mut frame, mut frames) = (Vec::new(), 0);
    while let Ok(Some(record)) = capture.next(&mut frame) {
        assert!(frame.len() <= bytes.len() && frame.len() <= record.original.max(frame.len()));
        frames += 1;
        // A record has a header of 12 bytes at the least.
        assert!(frames <= bytes.len() / 12);
    }
}

/// A block of a packet socket's receive ring, with long frames to cut.
pub fn packet_block(bytes: &[u8]) {
    let (packets, sum) = barline_af_packet::fuzzing::block(bytes);
    // No packet is longer than the port allows.
    assert!(sum <= packets * 1518);
}
