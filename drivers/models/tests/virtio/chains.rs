//! Chains of descriptors that no driver may make.

use crate::driver::{MAC, Rig, bit, frame};
use crate::misuse::{broke, rig};
use barline_sim::Fate;

/// Puts raw descriptors into the transmit queue: address offset in `pieces`, length, flags, next; makes `head` available.
pub fn raw(rig: &mut Rig, descs: &[(u64, u32, u16, u16)], head: u16) {
    let at = rig.alloc(4096);
    let packed = rig.has(34);
    let vq = rig.queues.get_mut(&1).unwrap();
    let ring = vq.desc;
    for (n, (offset, len, flags, next)) in descs.iter().enumerate() {
        let (third, fourth) = if packed {
            (0, flags | 1 << 7)
        } else {
            (*flags, *next)
        };
        vq.put_desc(ring, n as u16, (at.offset(*offset), *len), third, fourth);
    }
    if !packed {
        vq.put16(vq.driver.offset(4), head);
        vq.put16(vq.driver.offset(2), 1);
    }
    rig.notify(1);
}

#[test]
fn malformed_split_chains_stop_the_device() {
    type Case = (&'static [(u64, u32, u16, u16)], u16, u64, &'static str);
    let cases: [Case; 10] = [
        (&[(0, 72, 1, 0)], 0, 0, "1: chain longer than the queue"),
        (&[(0, 72, 1, 16)], 0, 0, "1: descriptor 16 is outside the table"),
        (&[], 99, 0, "1: descriptor 99 is outside the table"),
        (&[(0, 16, 4, 0)], 0, 0, "1: INDIRECT was not negotiated"),
        (&[(0, 16, 5, 1)], 0, bit(28), "1: INDIRECT in a chain"),
        (&[(0, 24, 4, 0)], 0, bit(28), "1: indirect table of 24 bytes"),
        (&[(0, 0, 4, 0)], 0, bit(28), "1: indirect table of 0 bytes"),
        (
            &[(0, 72, 3, 1), (0, 72, 0, 0)],
            0,
            0,
            "1: readable descriptor after a writable one",
        ),
        (&[(0, 72, 2, 0)], 0, 0, "1: writable transmit buffer"),
        (&[(0, 11, 0, 0)], 0, 0, "1: transmit buffer of 11 bytes"),
    ];
    for (descs, head, set, why) in cases {
        let (mut rig, far) = rig(set);
        raw(&mut rig, descs, head);
        broke(&rig, why);
        assert!(far.next_frame().is_none());
        // Nothing moves any more until a reset.
        assert!(far.send(&frame(MAC, 60, 1)));
        assert_eq!(rig.device.ledger().count(Fate::Off), 1);
    }
    let (mut rig, _far) = rig(0);
    let huge = [(0, u32::MAX, 1, 1), (0, u32::MAX, 0, 0)];
    raw(&mut rig, &huge, 0);
    broke(&rig, "1: chain of more than 2^32 bytes");
}

/// Address, length, flags and id or index of each descriptor; features; the complaint.
type Case<'a> = (&'a [(u64, u32, u16, u16)], u64, &'a str);

#[test]
fn malformed_packed_chains_stop_the_device() {
    let cases: [Case<'_>; 6] = [
        (
            &[(0, 72, 1, 0)],
            0,
            "1: chain into descriptors that are not available",
        ),
        (&[(0, 72, 1, 0); 16], 0, "1: chain longer than the queue"),
        (&[(0, 16, 4, 0)], 0, "1: INDIRECT was not negotiated"),
        (&[(0, 16, 5, 0)], bit(28), "1: INDIRECT in a chain"),
        (&[(0, 72, 1, 0), (0, 16, 4, 0)], bit(28), "1: INDIRECT in a chain"),
        (&[(0, 17 * 16, 4, 0)], bit(28), "1: chain longer than the queue"),
    ];
    for (descs, set, why) in cases {
        let (mut rig, _far) = rig(set | bit(34));
        raw(&mut rig, descs, 0);
        broke(&rig, why);
    }
}

#[test]
fn tables_within_tables_are_refused() {
    let (mut rig, _far) = rig(bit(28));
    let table = rig.alloc(64);
    let vq = &rig.queues[&1];
    vq.put_desc(table, 0, (table, 16), 4, 0);
    vq.put_desc(vq.desc, 0, (table, 16), 4, 0);
    vq.put16(vq.driver.offset(4), 0);
    vq.put16(vq.driver.offset(2), 1);
    rig.notify(1);
    broke(&rig, "1: INDIRECT within a table");
}

#[test]
fn a_chain_may_end_in_a_table() {
    let (mut rig, far) = rig(bit(28));
    let (at, table) = (rig.alloc(2048), rig.alloc(64));
    let sent = frame(MAC, 80, 1);
    rig.domain.write(at.offset(12), &sent).unwrap();
    let vq = &rig.queues[&1];
    vq.put_desc(table, 0, (at.offset(12), 40), 1, 1);
    vq.put_desc(table, 1, (at.offset(52), 40), 0, 0);
    vq.put_desc(vq.desc, 3, (at, 12), 1, 5);
    // The write flag means nothing here.
    vq.put_desc(vq.desc, 5, (table, 32), 4 | 2, 0);
    vq.put16(vq.driver.offset(4), 3);
    vq.put16(vq.driver.offset(2), 1);
    rig.notify(1);
    assert_eq!(far.next_frame(), Some(sent));
    assert_eq!(rig.queues[&1].peek(), Some((3, 0)));
    rig.assert_clean();
}

#[test]
fn the_index_does_not_jump_nor_go_back() {
    for index in [17, 0xffff, 0x8000] {
        let (rig, _far) = rig(0);
        let vq = &rig.queues[&1];
        vq.put16(vq.driver.offset(2), index);
        rig.notify(1);
        broke(&rig, &format!("1: available index {index}, used 0"));
    }
}

#[test]
fn in_order_means_ring_order() {
    for indirect in [false, true] {
        let (mut rig, far) = rig(bit(35) | bit(28));
        rig.indirect = indirect;
        rig.put(0, [0; 12], &frame(MAC, 60, 1), &[12, 30]);
        rig.put(0, [0; 12], &frame(MAC, 60, 2), &[]);
        rig.kick(1);
        assert_eq!(std::iter::from_fn(|| far.next_frame()).count(), 2);
        rig.assert_clean();
    }
    let (mut rig, _far) = rig(bit(35));
    raw(&mut rig, &[(0, 72, 0, 0), (0, 72, 0, 0)], 1);
    broke(&rig, "1: descriptor 1 where 0 is next");
    let (mut rig, _far) = self::rig(bit(35));
    raw(&mut rig, &[(0, 72, 1, 2)], 0);
    broke(&rig, "1: descriptor 2 where 1 is next");
}
