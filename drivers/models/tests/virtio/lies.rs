//! Used entries that are late, torn, lost, misplaced or wrong.

use crate::driver::{MAC, Rig, bit, frame};
use crate::faults::{FORMATS, US, VERSION_1, rig, send};
use barline::bus::local::LocalDevice;
use barline_models::virtio::Offer;
use barline_sim::{Clock, Corrupt, Fate, Fault, Side, Spoiled, Wire};
use std::time::Duration;

fn spoiled(nth: u64, how: Spoiled) -> Fault {
    Fault::WriteBack {
        side: Side::Rx,
        nth,
        how,
    }
}

/// Ids and lengths of what is used, in the order of the ring, without taking it. `len` entries, used or not.
fn ring(rig: &mut Rig, len: u64) -> Vec<Option<(u32, u32)>> {
    let vq = rig.queues.get_mut(&0).unwrap();
    let first = vq.used;
    let seen = (0..len)
        .map(|n| {
            vq.used = first + n;
            vq.peek()
        })
        .collect();
    vq.used = first;
    seen
}

#[test]
fn late_entries_come_when_their_time_has_come() {
    for set in FORMATS {
        let (mut rig, far, clock) = rig(set, vec![spoiled(1, Spoiled::Late(20 * US))]);
        send(&far, 3);
        let seen: Vec<_> = ring(&mut rig, 3).iter().map(Option::is_some).collect();
        assert_eq!(seen[..2], [true, false], "{set:#x}");
        // A packed ring shows what comes behind it; a split ring's index waits for it.
        match set {
            0 => assert_eq!(rig.queues[&0].get16(rig.queues[&0].device.offset(2)), 1),
            _ => assert!(seen[2]),
        }
        assert_eq!(rig.receive_all(0).len(), 1);
        clock.pass(20 * US);
        rig.device.step(0);
        assert_eq!(rig.receive_all(0), [1, 2].map(|n| frame(MAC, 60, n)), "{set:#x}");
        rig.assert_clean();
    }
}

#[test]
fn torn_entries_show_before_they_are_whole() {
    for set in FORMATS {
        let (mut rig, far, clock) = rig(set, vec![spoiled(0, Spoiled::Torn(10 * US))]);
        send(&far, 1);
        let torn = ring(&mut rig, 1)[0].expect("used");
        assert_eq!(
            torn.1,
            if set == 0 { 0 } else { 2048 },
            "{set:#x}: the old length"
        );
        clock.pass(10 * US);
        rig.device.step(0);
        assert_eq!(ring(&mut rig, 1), [Some((0, 72))], "{set:#x}");
    }
}

#[test]
fn entries_are_lost_misplaced_or_wrong() {
    for set in FORMATS {
        let wrong = Spoiled::Words {
            clear: [0xffff_ffff, 0xffff_ffff << 32],
            // Id 5, length 1,000.
            flip: [5, 1000 << 32],
        };
        let plan = vec![
            spoiled(0, Spoiled::Never),
            spoiled(1, wrong),
            spoiled(3, Spoiled::Elsewhere(2)),
        ];
        let (mut rig, far, _clock) = rig(set, plan);
        send(&far, 4);
        let seen = ring(&mut rig, 6);
        // Buffer 0 is never seen again; 1 is reported as 5; 2 is well; 3 is two places further on.
        assert_eq!(seen[..2], [Some((5, 1012)), Some((2, 72))], "{set:#x}");
        match set {
            // The index is 3: one entry that was never written, and one beyond it that was.
            0 => assert_eq!(seen[2..5], [Some((0, 0)), None, Some((3, 72))]),
            _ => assert_eq!(seen[2..5], [None, None, Some((3, 72))]),
        }
        assert_eq!(rig.device.ledger().count(Fate::Delivered), 4);
        // Whatever the driver makes of that is not held against it.
        assert_eq!(rig.misuses(), [""; 0]);
    }
}

#[test]
fn an_id_comes_twice_and_an_index_runs_ahead() {
    for set in FORMATS {
        let again = Spoiled::Words {
            clear: [0xffff_ffff, 0],
            flip: [0, 0],
        };
        let ahead = Spoiled::Words {
            clear: [0, 0],
            flip: [3 << 48, 0],
        };
        let (mut rig, far, _clock) = rig(set, vec![spoiled(1, again), spoiled(2, ahead)]);
        send(&far, 3);
        let seen = ring(&mut rig, 7);
        assert_eq!(
            seen[..3],
            [Some((0, 72)), Some((0, 72)), Some((2, 72))],
            "{set:#x}"
        );
        let claimed: Vec<_> = seen[3..].iter().map(Option::is_some).collect();
        match set {
            // The split ring's index says six.
            0 => assert_eq!(rig.queues[&0].get16(rig.queues[&0].device.offset(2)), 6),
            _ => assert_eq!(claimed, [true, true, true, false]),
        }
    }
}

#[test]
fn a_wrong_number_of_buffers_stands_in_the_header() {
    for set in FORMATS {
        let many = Spoiled::Words {
            clear: [0xffff << 32, 0],
            flip: [7 << 32, 0],
        };
        let (rig, far, _clock) = rig(set | bit(15), vec![spoiled(1, many)]);
        send(&far, 2);
        let count = |id: u64| {
            let vq = &rig.queues[&0];
            let at = rig.domain.load(vq.desc.offset(id * 16)).unwrap();
            rig.queues[&0].get16(barline::mem::Iova::new(at + 10))
        };
        assert_eq!([count(0), count(1)], [1, 7], "{set:#x}");
    }
}

#[test]
fn tests_spoil_lengths_as_with_other_models() {
    for set in FORMATS {
        let (mut rig, far, _clock) = rig(set, Vec::new());
        for len in [0, 40, u16::MAX] {
            rig.device.corrupt_next_receive(Corrupt::Length(len));
        }
        // A length that is even shorter than the header.
        rig.device
            .corrupt_next_receive(Corrupt::Words(Box::new(|words| words[1] = 0xffff_fffc << 32)));
        send(&far, 5);
        let lens: Vec<_> = ring(&mut rig, 5).iter().map(|seen| seen.unwrap().1).collect();
        assert_eq!(lens, [12, 52, 65_547, 8, 72], "{set:#x}: without the header");
        rig.assert_clean();
    }
}

#[test]
fn what_was_put_off_does_not_come_after_a_reset() {
    for set in FORMATS {
        let (rig, far, clock) = rig(set, vec![spoiled(0, Spoiled::Late(20 * US))]);
        send(&far, 1);
        LocalDevice::reset(&*rig.device);
        let before = rig.device.counts();
        clock.pass(30 * US);
        rig.device.step(1);
        let after = rig.device.counts();
        assert_eq!((after.dma_writes, after.dma_faults), (before.dma_writes, 0));
    }
}

/// Which of the first four entries the ring shows as used.
fn marked(rig: &mut Rig) -> [bool; 4] {
    if !rig.has(34) {
        let index = rig.queues[&0].get16(rig.queues[&0].device.offset(2));
        return [0, 1, 2, 3].map(|at| at < index);
    }
    let seen = ring(rig, 4);
    [0, 1, 2, 3].map(|at| seen[at].is_some())
}

/// Wherever the device breaks off, a packet of several buffers is there as a whole or not at all (2.8.9).
#[test]
fn a_packet_is_never_seen_in_part() {
    for set in [0, bit(34), bit(29) | bit(34)] {
        let spread = |faults| {
            let clock = Clock::virtual_until(Duration::from_secs(1));
            let (near, far) = Wire::pair();
            let mut rig = Rig::faulty(Offer::default(), near, &clock, faults);
            rig.rx_shape = (100, 1);
            rig.start(VERSION_1 | bit(15) | set, 1, 8);
            far.send(&frame(MAC, 380, 1));
            rig
        };
        let counts = spread(Vec::new()).device.counts();
        let mut parts = 0;
        for nth in 0..counts.dma_reads + counts.dma_writes {
            let mut rig = spread(vec![Fault::Dma { nth }]);
            let seen = marked(&mut rig);
            parts += u32::from(!seen[0] && seen[3]);
            assert!(!seen[0] || seen == [true; 4], "{set:#x}, access {nth}: {seen:?}");
        }
        assert_eq!(parts > 0, set & bit(34) != 0, "some break off in between");
    }
}
