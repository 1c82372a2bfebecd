//! What a driver must not do is recorded, and what it must not do to a ring ends in DEVICE_NEEDS_RESET.

use crate::chains::raw;
use crate::driver::{MAC, Rig, bit, frame};
use crate::vq::Piece;
use barline::bus::local::LocalDevice;
use barline_models::virtio::Offer;
use barline_sim::Fate;

const VERSION_1: u64 = bit(32);

pub fn rig(set: u64) -> (Rig, barline_sim::WireEnd) {
    let (mut rig, far) = Rig::new(Offer::default());
    rig.start(VERSION_1 | set, 1, 16);
    (rig, far)
}

/// The device has given up, for this reason, and said so.
pub fn broke(rig: &Rig, why: &str) {
    assert_eq!(rig.misuses(), [why]);
    assert_eq!(rig.status(), 0x4f, "{why}");
    assert_eq!(rig.read(3, 0, 1) & 2, 2, "{why}: configuration interrupt");
    assert!(rig.domain.take_faults().is_empty());
}

#[test]
fn notifications_come_after_driver_ok_to_the_right_place_in_16_bits() {
    let (mut rig, _far) = Rig::new(Offer::default());
    assert!(rig.negotiate(VERSION_1));
    rig.setup(0, 16);
    rig.notify(0);
    assert_eq!(rig.misuses(), ["0: notified before DRIVER_OK"]);
    rig.set_status(0xf);
    rig.notify(1);
    assert_eq!(
        rig.misuses()[1..],
        ["1: notified for a queue that is not enabled"]
    );
    rig.select(0);
    let place = (rig.read(1, 0x1e, 2) * rig.multiplier) as usize;
    rig.write(2, place, 4, 0);
    rig.write(2, place - 4, 2, 0);
    rig.write(2, place, 2, 9);
    assert_eq!(
        rig.misuses()[2..],
        [
            format!("0: notification of 4 bytes at {place:#x}"),
            format!("0: notification of 2 bytes at {:#x}", place - 4),
            "9: no such queue".to_owned()
        ]
    );
}

#[test]
fn queues_are_set_up_in_their_time_and_not_changed_while_enabled() {
    let (mut rig, _far) = Rig::new(Offer::default());
    rig.set_status(1);
    rig.set_status(3);
    rig.select(0);
    rig.write(1, 0x1c, 2, 1);
    assert_eq!(rig.misuses(), ["0: queue enabled before FEATURES_OK"]);
    assert!(rig.negotiate(VERSION_1));
    for size in [0, 24, 512] {
        rig.write(1, 0x18, 2, size);
        assert_eq!(rig.read(1, 0x18, 2), 256);
    }
    rig.write(1, 0x20, 4, 0x1008);
    rig.write(1, 0x1c, 2, 1);
    assert_eq!(
        rig.misuses()[1..],
        [
            "0: queue size 0",
            "0: queue size 24",
            "0: queue size 512",
            "0: ring part at 0x1008 is not aligned"
        ]
    );
    rig.setup(0, 16);
    rig.write(1, 0x20, 4, 0x2000);
    rig.write(1, 0x18, 2, 8);
    rig.write(1, 0x1c, 2, 0);
    assert_eq!(
        rig.misuses()[5..],
        [
            "0: field 0x20 of an enabled queue",
            "0: field 0x18 of an enabled queue",
            "0: 0 to queue_enable"
        ]
    );
    assert_ne!(rig.read(1, 0x20, 4), 0x2000);
    rig.write(1, 0x1a, 2, 4);
    rig.write(1, 0x3a, 2, 1);
    rig.set_status(0xf);
    rig.setup(1, 16);
    rig.select(7);
    rig.write(1, 0x18, 2, 8);
    assert_eq!(
        rig.misuses()[8..],
        [
            "0: no vector 4",
            "0: 1 to queue_reset",
            "1: queue enabled after DRIVER_OK",
            "7: no such queue"
        ]
    );
    rig.select(0);
    assert_eq!(rig.read(1, 0x1a, 2), 0xffff);
    // Packed rings need no power of two.
    assert!(rig.negotiate(VERSION_1 | bit(34)));
    rig.write(1, 0x18, 2, 24);
    assert_eq!((rig.read(1, 0x18, 2), rig.misuses().len()), (24, 12));
}

#[test]
fn read_only_fields_and_holes_are_left_alone() {
    let (rig, _far) = rig(0);
    for (kind, at, bytes) in [
        (1, 4, 4),
        (1, 0x12, 2),
        (1, 0x15, 1),
        (1, 0x1e, 2),
        (4, 0, 1),
        (3, 0, 1),
        (1, 0x38, 2),
    ] {
        rig.write(kind, at, bytes, 1);
    }
    assert!(
        rig.misuses()
            .iter()
            .all(|what| what.starts_with("write to read-only field"))
    );
    assert_eq!(rig.misuses().len(), 7);
    let (bar, common, len) = rig.places[&1];
    rig.device.bar_read(bar, common + len as usize);
    assert!(rig.misuses()[7].starts_with("no field at"));
}

#[test]
fn receive_buffers_can_be_written_and_hold_a_header() {
    let bad: [(Piece, &str); 2] = [
        (
            (barline::mem::Iova::new(0), 2048, false),
            "0: receive buffer that cannot be written",
        ),
        (
            (barline::mem::Iova::new(0), 11, true),
            "0: receive buffer of 11 bytes",
        ),
    ];
    for (mut piece, why) in bad {
        for set in [0, bit(15), bit(34)] {
            let (mut rig, far) = rig(set | bit(40));
            rig.select(0);
            rig.write(1, 0x3a, 2, 1);
            rig.setup(0, 16);
            piece.0 = rig.alloc(2048);
            rig.add(0, &[piece]);
            rig.kick(0);
            assert!(far.send(&frame(MAC, 60, 1)));
            broke(&rig, why);
            assert_eq!(rig.device.ledger().count(Fate::Lost), 1);
        }
    }
}

#[test]
fn transmit_headers_ask_for_what_was_negotiated() {
    let (mut rig, far) = rig(0);
    let header = |at: usize, value: u8| {
        let mut header = [0; 12];
        header[at] = value;
        header
    };
    for (header, why) in [
        (header(0, 1), "1: transmit header: flags 0x1, gso_type 0x0"),
        (header(0, 2), "1: transmit header: flags 0x2, gso_type 0x0"),
        (header(1, 1), "1: transmit header: flags 0x0, gso_type 0x1"),
        (header(10, 1), "1: transmit header: num_buffers 1"),
    ] {
        let had = rig.misuses().len();
        rig.put(0, header, &frame(MAC, 60, 1), &[]);
        rig.kick(1);
        assert_eq!(rig.misuses()[had..], [why]);
    }
    rig.put(0, [0; 12], &[0; 13], &[]);
    rig.put(0, [0; 12], &[0; 66_000], &[]);
    rig.kick(1);
    assert_eq!(
        rig.misuses()[4..],
        ["1: packet of 13 bytes", "1: packet of 66000 bytes"]
    );
    let (mut sums, _far) = self::rig(bit(0));
    let mut wrong = header(0, 1);
    wrong[6] = 70;
    sums.put(0, wrong, &frame(MAC, 60, 1), &[]);
    sums.kick(1);
    assert_eq!(sums.misuses(), ["1: checksum at 70 + 0"]);
    // None was sent, each was given back, and the next goes through.
    rig.send(0, &frame(MAC, 60, 9));
    assert_eq!(
        (far.next_frame(), far.next_frame()),
        (Some(frame(MAC, 60, 9)), None)
    );
    assert_eq!((rig.reclaim(0), rig.status()), (7, 0xf));
}

#[test]
fn flags_that_mean_nothing_are_ignored_and_recorded() {
    let (mut rig, far) = rig(0);
    raw(&mut rig, &[(0, 72, 0x40, 0)], 0);
    assert_eq!(rig.misuses(), ["1: descriptor flags 0x40"]);
    assert!(far.next_frame().is_some());
    let (mut rig, _far) = self::rig(bit(29));
    rig.queues[&1].put16(rig.queues[&1].driver, 1);
    rig.send(0, &frame(MAC, 60, 1));
    assert_eq!(rig.misuses(), ["1: event flags 0x1"]);
    let (mut rig, _far) = self::rig(bit(34));
    rig.queues[&1].put16(rig.queues[&1].driver.offset(2), 2);
    rig.send(0, &frame(MAC, 60, 1));
    assert_eq!(rig.misuses(), ["1: event flags 0x2"]);
}

#[test]
fn malformed_commands_stop_the_device() {
    let (mut rig, _far) = rig(bit(17));
    let (at, control) = (rig.alloc(64), rig.control);
    rig.add(control, &[(at, 2, false)]);
    rig.kick(control);
    broke(&rig, "2: malformed command");
}
