//! The suite that every driver passes, over pairs of interfaces.

mod common;

use barline_af_xdp::Mode;
use barline_conformance::{CASES, run};
use common::{Pairs, able, enter};
use std::thread;

/// Cases that ask for what an interface of the kernel does not do.
const NOT: &[(&str, &str)] = &[
    (
        "every_packet_taken_is_on_the_wire_or_in_a_counter",
        "nothing pads short frames on a pair of interfaces",
    ),
    (
        "the_device_counts_what_we_count",
        "the kernel counts what it drops, not what it passes",
    ),
];

fn suite(pairs: impl Fn() -> Pairs + Copy + Send + 'static) {
    if !able() {
        return;
    }
    let mut failed = Vec::new();
    let only = std::env::var("CASE").ok();
    for (name, _) in CASES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        if let Some((_, why)) = NOT.iter().find(|(not, _)| not == name) {
            eprintln!("{name}: SKIP: {why}");
            continue;
        }
        eprintln!("{name}");
        let case = thread::Builder::new().name((*name).to_owned()).spawn(move || {
            enter();
            run(&pairs(), name);
        });
        if case.expect("a thread").join().is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[test]
fn in_the_driver() {
    suite(Pairs::new);
}

#[test]
fn behind_the_driver() {
    suite(|| Pairs {
        mode: Mode::Skb,
        ..Pairs::new()
    });
}
