//! Tests that no word which the peer may rewrite is read twice: what was checked is what is used.
//!
//! The peer here rewrites each word as soon as it has been read ([`crate::sys::witness`]), and counts the reads.

mod scene;

use barline::mem::{PageSize, Source};
use barline::offload::{Checksum, Offload};
use barline::pool::{Batch, Pool};
use barline::port::{RxQueue, TxQueue};
use scene::{BUFFERS, Burst, FRAMES, Form, HEADER, LEN, OPEN, PLACE, SIZE, Scene, content};
use std::time::Duration;

fn pool() -> Pool {
    let pool = Pool::builder()
        .packets(64)
        .source(Source::MemFd(PageSize::Base4K));
    pool.build().unwrap()
}

fn receives(burst: Burst) {
    let (mut scene, pool) = (Scene::new(burst), pool());
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    // It takes its ring; then it leaves it alone for a moment.
    assert_eq!(scene.rings.rx.receive(&mut cache, &mut batch), 0);
    std::thread::sleep(Duration::from_micros(20));
    scene.post_all();
    let entries = scene.area(1) + 4..scene.area(1) + 4 + SIZE * 2;
    let got = scene.rewritten(entries, |rings| rings.rx.receive(&mut cache, &mut batch));
    assert_eq!(got, FRAMES, "{burst:?}");
    for (n, packet) in batch.as_slice().iter().enumerate() {
        assert!(packet[..] == content(n), "{burst:?}");
        let checksum = match burst.offloads {
            true => Checksum::Partial {
                start: 20,
                offset: 10,
            },
            false => Checksum::None,
        };
        assert_eq!(packet.offload().checksum, checksum, "{burst:?}");
        let (at, header) = (BUFFERS + n as u64 * PLACE, u32::from(burst.offloads));
        assert_eq!(scene.counts(at..at + 10), (header, header), "header of {burst:?}");
        scene.once("a frame", at + HEADER as u64, LEN as u64);
    }
    scene.check_ring();
    scene.check_used(0);
    cache.free(&mut batch);
}

fn transmits(burst: Burst) {
    let (mut scene, pool) = (Scene::new(burst), pool());
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    scene.rings.rx.receive(&mut cache, &mut batch);
    for n in 0..FRAMES {
        let mut packet = cache.alloc().unwrap();
        assert!(packet.set(&content(n)));
        if burst.offloads {
            packet.set_offload(Offload {
                checksum: Checksum::Partial {
                    start: 20,
                    offset: 10,
                },
                segmentation: None,
            });
        }
        batch.push(packet).unwrap();
    }
    scene.post_all();
    let entries = scene.area(1) + 4..scene.area(1) + 4 + SIZE * 2;
    let sent = scene.rewritten(entries, |rings| rings.tx.transmit(&mut cache, &mut batch));
    assert_eq!(sent, FRAMES, "{burst:?}");
    for n in 0..FRAMES {
        let at = BUFFERS + n as u64 * PLACE;
        let mut header = if burst.offloads { OPEN } else { [0; HEADER] };
        header[10] = 1;
        assert_eq!(scene.get::<HEADER>(at), header, "{burst:?}");
        assert!(
            scene.get::<LEN>(at + HEADER as u64)[..] == content(n),
            "{burst:?}"
        );
        // It is compared with what is to be there.
        let (most, _) = scene.counts(at..at + HEADER as u64);
        assert!(most <= 1, "header of {burst:?}");
        assert_eq!(
            scene.counts(at + HEADER as u64..at + PLACE),
            (0, 0),
            "frame of {burst:?}"
        );
    }
    scene.check_ring();
    scene.check_used(HEADER + LEN);
}

fn all(receives: bool, run: fn(Burst)) {
    for form in [
        Form::One,
        Form::Chain(2),
        Form::Chain(3),
        Form::Table(1),
        Form::Table(3),
    ] {
        for bits in 0..16 {
            let on = |bit: u32| bits >> bit & 1 != 0;
            run(Burst {
                packed: on(0),
                receives,
                offloads: on(1),
                event_idx: on(2),
                form,
                apart: on(3),
            });
        }
    }
}

#[test]
fn what_is_received_is_read_once() {
    all(true, receives);
}

#[test]
fn where_it_is_sent_is_read_once() {
    all(false, transmits);
}

/// The one word that is read twice, once to fetch early what it names: only the second time counts, and that is checked.
#[test]
fn an_entry_that_changes_before_it_is_used_is_checked_as_it_is_then() {
    let burst = Burst {
        packed: false,
        receives: true,
        offloads: false,
        event_idx: false,
        form: Form::One,
        apart: false,
    };
    let (mut scene, pool) = (Scene::new(burst), pool());
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    scene.rings.rx.receive(&mut cache, &mut batch);
    std::thread::sleep(Duration::from_micros(20));
    scene.post_all();
    let got = scene.rewritten(0..0, |rings| rings.rx.receive(&mut cache, &mut batch));
    assert_eq!((got, batch.len()), (0, 0));
    assert!(scene.rings.device.shared.gates[1].is_faulty());
}
