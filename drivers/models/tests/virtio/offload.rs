//! Checksums and segmentation, both ways. The sums are taken anew here, as a receiver would.

use crate::driver::{MAC, Rig, bit, frame, udp};
use crate::rings::taken;
use barline_models::virtio::{Inbound, Offer};
use proptest::prelude::*;

const VERSION_1: u64 = bit(32);
const CSUM: u64 = bit(0);
const GUEST_CSUM: u64 = bit(1);
const GUEST_TSO: u64 = bit(7) | bit(8);
const HOST_TSO: u64 = bit(11) | bit(12);
const FIN: u8 = 1;
const PSH: u8 = 8;
const ACK: u8 = 16;
const CWR: u8 = 128;

/// A TCP frame: what it is made of, and where its parts begin.
#[derive(Clone, Debug)]
struct Tcp {
    v6: bool,
    tag: bool,
    /// Words of options.
    options: u8,
    flags: u8,
    data: Vec<u8>,
}

impl Tcp {
    fn ip(&self) -> usize {
        if self.tag { 18 } else { 14 }
    }

    fn tcp(&self) -> usize {
        self.ip() + if self.v6 { 40 } else { 20 }
    }

    fn headers(&self) -> usize {
        self.tcp() + 20 + usize::from(self.options) * 4
    }

    /// The pseudo header's sum for a frame of this shape.
    fn pseudo(&self, frame: &[u8]) -> u32 {
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let len = frame.len() - self.tcp();
        add(&frame[self.ip()..][addresses]) + 6 + len as u32
    }

    /// The whole frame, with right checksums.
    fn frame(&self) -> Vec<u8> {
        let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 9]].concat();
        if self.tag {
            frame.extend([0x81, 0, 0, 7]);
        }
        let len = (20 + usize::from(self.options) * 4 + self.data.len()) as u16;
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0xfd; 16]);
            frame.extend([0xfe; 16]);
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((len + 20).to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 9, 9, 9]);
            let sum = !round(add(&frame[self.ip()..]));
            let at = self.ip() + 10;
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        // The sequence number overflows on the way.
        frame.extend([0, 80, 0x12, 0x34, 0xff, 0xff, 0xff, 0xf0, 1, 2, 3, 4]);
        frame.extend([(5 + self.options) << 4, self.flags, 0x20, 0, 0, 0, 0, 0]);
        frame.resize(self.headers(), 1);
        frame.extend(&self.data);
        let sum = !round(add(&frame[self.tcp()..]) + self.pseudo(&frame));
        let at = self.tcp() + 16;
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The frame as a driver hands it over, and its header.
    fn request(&self, size: u16) -> ([u8; 12], Vec<u8>) {
        let mut frame = self.frame();
        let at = self.tcp() + 16;
        let pseudo = round(self.pseudo(&frame));
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        (self.header(size), frame)
    }

    fn header(&self, size: u16) -> [u8; 12] {
        let gso = if self.v6 { 4 } else { 1 };
        let [low, high] = size.to_le_bytes();
        [
            1,
            gso,
            self.headers() as u8,
            0,
            low,
            high,
            self.tcp() as u8,
            0,
            16,
            0,
            0,
            0,
        ]
    }

    /// Checks segments of this frame as they came off the wire.
    fn check(&self, segments: &[Vec<u8>], size: u16) {
        let whole = self.frame();
        let mut at = 0;
        for (number, segment) in segments.iter().enumerate() {
            let last = number + 1 == segments.len();
            let data = (self.data.len() - at).min(usize::from(size));
            let len = self.headers() + data;
            let (segment, padding) = segment.split_at(len);
            assert!(padding.iter().all(|byte| *byte == 0) && (padding.is_empty() || len < 60));
            assert_eq!(
                segment[self.headers()..],
                self.data[at..at + data],
                "data of {number}"
            );
            let (ip, tcp) = (self.ip(), self.tcp());
            let be = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
            if self.v6 {
                assert_eq!(usize::from(be(ip + 4)), len - ip - 40);
            } else {
                assert_eq!(usize::from(be(ip + 2)), len - ip);
                assert_eq!(be(ip + 4), 0xfffeu16.wrapping_add(number as u16));
                assert_eq!(round(add(&segment[ip..tcp])), 0xffff, "IP checksum of {number}");
            }
            assert_eq!(
                round(add(&segment[tcp..]) + self.pseudo(segment)),
                0xffff,
                "TCP checksum of {number}"
            );
            let sequence = 0xffff_fff0u32.wrapping_add(at as u32);
            assert_eq!(segment[tcp + 4..tcp + 8], sequence.to_be_bytes());
            let lost = if last { 0 } else { FIN | PSH } | if number == 0 { 0 } else { CWR };
            assert_eq!(segment[tcp + 13], self.flags & !lost, "flags of {number}");
            // All else is as it was.
            assert_eq!(segment[tcp + 8..tcp + 13], whole[tcp + 8..tcp + 13]);
            assert_eq!(segment[tcp + 18..self.headers()], whole[tcp + 18..self.headers()]);
            assert_eq!(segment[..ip + 2], whole[..ip + 2]);
            at += data;
        }
        assert_eq!(at, self.data.len(), "all of the data");
    }
}

fn add(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2);
    words
        .map(|pair| u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn round(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    (once + (once >> 16)) as u16
}

fn offer(inbound: Inbound) -> Offer {
    Offer {
        segmentation: true,
        guest_checksum: true,
        guest_segmentation: true,
        inbound,
        ..Offer::default()
    }
}

fn sample(v6: bool, len: usize) -> Tcp {
    Tcp {
        v6,
        tag: false,
        options: 3,
        flags: CWR | ACK | PSH | FIN,
        data: (0..len).map(|at| (at * 7) as u8).collect(),
    }
}

fn tcp() -> impl Strategy<Value = Tcp> {
    let data = prop::collection::vec(any::<u8>(), 0..3000);
    (any::<bool>(), any::<bool>(), 0u8..11, any::<u8>(), data).prop_map(|(v6, tag, options, flags, data)| {
        Tcp {
            v6,
            tag,
            options,
            flags,
            data,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_are_what_a_receiver_wants(tcp in tcp(), size in 1u16..2000) {
        let (mut rig, far) = Rig::new(offer(Inbound::Silent));
        rig.start(VERSION_1 | CSUM | HOST_TSO, 1, 16);
        let size = size.max(tcp.data.len() as u16 / 50 + 1);
        let (header, frame) = tcp.request(size);
        rig.put(0, header, &frame, &[12]);
        rig.kick(1);
        let sent = taken(&far);
        prop_assert_eq!(sent.len(), tcp.data.len().div_ceil(usize::from(size)).max(1));
        tcp.check(&sent, size);
        prop_assert_eq!(rig.reclaim(0), 1);
        rig.assert_clean();
    }

    /// What was handed over uncut goes out again by the very same header, and arrives whole.
    #[test]
    fn what_came_uncut_can_be_sent_on(tcp in tcp(), size in 100u16..2000) {
        let (mut rig, far) = Rig::new(offer(Inbound::Uncut(size)));
        rig.rx_shape = (4096, 1);
        rig.start(VERSION_1 | CSUM | HOST_TSO | GUEST_CSUM | GUEST_TSO, 1, 16);
        let mut frame = tcp.frame();
        frame.resize(frame.len().max(60), 0);
        assert!(far.send(&frame));
        let (mut header, got) = rig.packets(0).remove(0);
        prop_assert_eq!(header[1] != 0, tcp.data.len() > usize::from(size));
        if header[1] != 0 {
            prop_assert_eq!(&header[..10], &tcp.header(size)[..10]);
        }
        header[10] = 0;
        rig.put(0, header, &got, &[]);
        rig.kick(1);
        tcp.check(&taken(&far), size.max(if header[1] == 0 { u16::MAX } else { 0 }));
        rig.assert_clean();
    }
}

#[test]
fn requests_that_do_not_fit_the_frame_are_refused() {
    let (mut rig, far) = Rig::new(offer(Inbound::Silent));
    rig.start(VERSION_1 | CSUM | bit(11), 1, 16);
    let good = sample(false, 300);
    let (header, whole) = good.request(100);
    let change = |at: usize, value: u8| {
        let mut header = header;
        header[at] = value;
        header
    };
    let segments = |gso: u8, size: u16| format!("1: segmentation: gso_type {gso:#x}, gso_size {size}");
    let mut complete = whole.clone();
    complete[50] ^= 1;
    let datagram = udp(MAC, 1, false);
    for (header, frame, why) in [
        (change(0, 0), &whole, segments(1, 100)),
        (change(4, 0), &whole, segments(1, 0)),
        (change(6, 33), &whole, segments(1, 100)),
        (change(8, 6), &whole, segments(1, 100)),
        (header, &complete, segments(1, 100)),
        (header, &datagram, segments(1, 100)),
        (
            change(1, 4),
            &whole,
            "1: transmit header: flags 0x1, gso_type 0x4".into(),
        ),
        (
            change(1, 3),
            &whole,
            "1: transmit header: flags 0x1, gso_type 0x3".into(),
        ),
        (
            change(1, 0x81),
            &whole,
            "1: transmit header: flags 0x1, gso_type 0x81".into(),
        ),
    ] {
        let had = rig.misuses().len();
        rig.put(0, header, frame, &[]);
        rig.kick(1);
        assert_eq!(rig.misuses()[had..], [why]);
    }
    assert_eq!((far.next_frame(), rig.reclaim(0)), (None, 9));
    // hdr_len is a hint.
    rig.put(0, change(2, 0), &whole, &[]);
    rig.kick(1);
    good.check(&taken(&far), 100);
}

#[test]
fn segments_keep_to_the_mtu() {
    let (mut rig, far) = Rig::new(Offer {
        mtu: Some(1500),
        ..offer(Inbound::Silent)
    });
    rig.start(VERSION_1 | CSUM | HOST_TSO | bit(3), 1, 16);
    let long = sample(true, 5000);
    let fits = 1500 - 40 - 32;
    let (header, frame) = long.request(fits);
    rig.put(0, header, &frame, &[]);
    rig.kick(1);
    long.check(&taken(&far), fits);
    rig.assert_clean();
    let (header, frame) = long.request(fits + 1);
    rig.put(0, header, &frame, &[]);
    rig.kick(1);
    assert_eq!(rig.misuses(), ["1: packet of 1515 bytes"]);
    assert_eq!(far.next_frame(), None);
}

/// Header and frame of what arrives as `sent`, where `accepted` is and the device says `inbound`.
fn arrives(inbound: Inbound, accepted: u64, sent: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut rig, far) = Rig::new(offer(inbound));
    rig.rx_shape = (4096, 1);
    rig.start(VERSION_1 | accepted, 1, 16);
    assert!(far.send(sent));
    let (header, frame) = rig.packets(0).remove(0);
    rig.assert_clean();
    (header[..10].to_vec(), frame)
}

#[test]
fn received_checksums_are_told_as_it_was_agreed() {
    let tcp = sample(false, 64);
    let whole = tcp.frame();
    let silent = (vec![0; 10], whole.clone());
    for inbound in [Inbound::Valid, Inbound::Partial, Inbound::Uncut(10)] {
        assert_eq!(arrives(inbound, 0, &whole), silent);
    }
    assert_eq!(arrives(Inbound::Silent, GUEST_CSUM, &whole), silent);
    let valid = arrives(Inbound::Valid, GUEST_CSUM, &whole);
    assert_eq!(valid, (vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0], whole.clone()));
    let partial = (vec![1, 0, 0, 0, 0, 0, 34, 0, 16, 0], tcp.request(0).1);
    assert_eq!(arrives(Inbound::Partial, GUEST_CSUM, &whole), partial);
    // GUEST_TSO4 was not accepted, or it is short.
    assert_eq!(arrives(Inbound::Uncut(10), GUEST_CSUM | bit(8), &whole), partial);
    assert_eq!(
        arrives(Inbound::Uncut(64), GUEST_CSUM | GUEST_TSO, &whole),
        partial
    );
    let (header, _) = arrives(Inbound::Uncut(63), GUEST_CSUM | GUEST_TSO, &whole);
    assert_eq!(header, tcp.header(63)[..10]);
    // What is wrong stays wrong, and of what has no checksum nothing is said.
    let mut wrong = whole;
    wrong[60] ^= 4;
    for sent in [wrong, frame(MAC, 80, 1), udp(MAC, 1, false)] {
        for inbound in [Inbound::Valid, Inbound::Partial, Inbound::Uncut(10)] {
            let got = arrives(inbound, GUEST_CSUM | GUEST_TSO, &sent);
            assert_eq!(got, (vec![0; 10], sent.clone()));
        }
    }
}

#[test]
fn long_frames_come_only_to_those_who_take_them() {
    let whole = sample(true, 3000).frame();
    for (accepted, comes) in [
        (GUEST_CSUM | GUEST_TSO, true),
        (GUEST_CSUM | bit(7), false),
        (0, false),
    ] {
        let (mut rig, far) = Rig::new(Offer {
            mtu: Some(1500),
            ..offer(Inbound::Uncut(1400))
        });
        rig.start(VERSION_1 | bit(3) | bit(15) | accepted, 1, 64);
        assert!(far.send(&whole));
        assert_eq!(rig.packets(0).len(), usize::from(comes));
        rig.assert_clean();
    }
}

#[test]
fn a_device_may_lie_in_headers() {
    let lie = [0xff, 1, 0, 0, 9, 0, 0xff, 0xff, 0, 0];
    let sent = sample(false, 64).frame();
    assert_eq!(arrives(Inbound::Lies(lie), 0, &sent), (lie.to_vec(), sent));
}

#[test]
fn offloads_that_require_others_are_not_offered_without() {
    let offered = |offer: Offer| offer.features() & (CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO);
    assert_eq!(offered(Offer::default()), CSUM);
    assert_eq!(
        offered(offer(Inbound::Silent)),
        CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO
    );
    let without = Offer {
        checksum: false,
        guest_checksum: false,
        ..offer(Inbound::Silent)
    };
    assert_eq!(offered(without), 0);
}
