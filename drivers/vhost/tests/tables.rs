//! Memory tables that cannot be, or that are enormous: they are refused or used, and the next peer is served.

mod common;

use barline::port::Port;
use common::memory::Memory;
use common::*;
use vhost::vhost_user::VhostUserFrontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo as Region};

const PAGE: u64 = 4096;
/// What no file of the test's has behind it.
const FILE: u64 = 1 << 46;

fn region(memory: &Memory, guest: u64, user: u64, len: u64, offset: u64) -> Region {
    Region {
        guest_phys_addr: guest,
        memory_size: len,
        userspace_addr: user,
        mmap_offset: offset,
        ..memory.region(0, PAGE)
    }
}

/// Tables by what is wrong with them: where the guest has it, where the front end does, length, place in the file.
const WRONG: &[(&str, &[[u64; 4]])] = &[
    ("the same twice", &[[0, 0, PAGE, 0], [0, 0, PAGE, 0]]),
    (
        "one in another",
        &[[0, 0, 8 * PAGE, 0], [PAGE, 0x10_0000, PAGE, 0]],
    ),
    (
        "one around another",
        &[[PAGE, 0x10_0000, PAGE, 0], [0, 0, 8 * PAGE, 0]],
    ),
    (
        "a byte of another",
        &[[0, 0, PAGE, 0], [PAGE - 1, 0x10_0000, PAGE, 0]],
    ),
    ("the guest's end wraps", &[[u64::MAX - 100, 0, PAGE, 0]]),
    ("the front end's wraps", &[[0, u64::MAX - 100, PAGE, 0]]),
    ("its place wraps", &[[0, 0, PAGE, u64::MAX - 100]]),
    ("its place is no signed number", &[[0, 0, PAGE, 1 << 63]]),
    ("its place is behind the file", &[[0, 0, PAGE, FILE]]),
    ("its end is behind the file", &[[0, 0, PAGE + 1, FILE - PAGE]]),
    ("all there is", &[[0, 0, u64::MAX, 0]]),
    ("half of all there is", &[[0, 0, 1 << 63, 0]]),
    (
        "more than a process has",
        &[
            [0, 0, FILE, 0],
            [FILE, FILE, FILE, 0],
            [2 * FILE, 2 * FILE, FILE, 0],
        ],
    ),
];

#[test]
fn tables_that_cannot_be_are_refused() {
    let mut near = Near::new(1, 1500);
    let memory = Memory::new(FILE);
    for slots in [false, true] {
        for (what, table) in WRONG {
            let mut peer = Peer::greet(
                &near.path,
                Wish {
                    slots,
                    ..Wish::default()
                },
            );
            let regions: Vec<Region> = table
                .iter()
                .map(|[guest, user, len, offset]| region(&memory, *guest, *user, *len, *offset))
                .collect();
            let refused = match slots {
                true => regions
                    .iter()
                    .any(|region| peer.frontend.add_mem_region(region).is_err()),
                false => peer.frontend.set_mem_table(&regions).is_err(),
            };
            assert!(refused, "{what}");
        }
    }
    serves(&mut near);
    near.end();
}

#[test]
fn enormous_memory_is_used_where_the_rings_are() {
    let mut near = Near::new(1, 1500);
    let mut peer = Peer::greet(&near.path, Wish::default());
    // Nothing is behind most of it, and nothing of ours grows with it.
    peer.memory.shorten(FILE / 2);
    let whole = peer.memory.region(0, FILE / 2);
    peer.frontend.set_mem_table(&[whole]).unwrap();
    peer.start();
    until("the link", || near.port.link().up);
    assert!(peer.send(0, &frame(60, 1)));
    assert_eq!(near.receive(0), [frame(60, 1)]);
    assert_eq!(near.send(0, &[frame(1500, 2)]), 0);
    assert_eq!(peer.receive(0), Some(frame(1500, 2)));
    drop(peer);
    until("the end of the link", || !near.port.link().up);
    serves(&mut near);
    near.end();
}

#[test]
fn no_peer_has_more_than_its_slots() {
    let mut near = Near::new(1, 1500);
    let mut peer = Peer::greet(
        &near.path,
        Wish {
            slots: true,
            ..Wish::default()
        },
    );
    let (slots, taken) = (
        peer.frontend.get_max_mem_slots().unwrap(),
        peer.rings.len() as u64,
    );
    let far = |n: u64| {
        let at = (1 << 40) + n * PAGE;
        region(&peer.memory, at, at, PAGE, 0)
    };
    let more: Vec<Region> = (0..=slots - taken).map(far).collect();
    let (last, fits) = more.split_last().unwrap();
    for region in fits {
        peer.frontend.add_mem_region(region).unwrap();
    }
    peer.frontend.add_mem_region(last).expect_err("one too many");
    serves_as(&mut near, &mut peer);
    near.end();
}

/// A peer that means well has frames both ways.
fn serves(near: &mut Near) {
    let mut peer = Peer::greet(&near.path, Wish::default());
    serves_as(near, &mut peer);
}

fn serves_as(near: &mut Near, peer: &mut Peer) {
    peer.start();
    until("the link", || near.port.link().up);
    assert!(peer.send(0, &frame(60, 1)));
    assert_eq!(near.receive(0), [frame(60, 1)]);
    assert_eq!(near.send(0, &[frame(1500, 2)]), 0);
    assert_eq!(peer.receive(0), Some(frame(1500, 2)));
}
