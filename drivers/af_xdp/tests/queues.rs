//! Queues: a sleeping core, counters, several of them, jumbo frames, busy polling.

mod common;

use barline::pool::Batch;
use barline::wait::{Armed, Watch};
use barline_conformance::{Lane, Patience, run, udp};
use common::{Pairs, pairs};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_sleeping_core_is_woken_by_a_frame() {
    let Some(pairs) = pairs() else { return };
    let mut lane = Lane::up(&pairs);
    let watch = Watch::new().unwrap();
    watch
        .add(lane.rx[0].wake_fd().expect("something to wait for"))
        .unwrap();
    for n in 0..5 {
        assert_eq!(lane.rx[0].arm(), Armed::Wakes);
        assert!(
            !watch.wait(Duration::from_millis(10)).unwrap(),
            "nothing has come"
        );
        lane.inject(&lane.frame(60, n));
        assert!(watch.wait(Duration::from_secs(20)).unwrap(), "a frame has come");
        assert_eq!(lane.rx[0].arm(), Armed::Pending);
        lane.rx[0].disarm();
        assert_eq!(lane.receive(1).len(), 1);
    }
    lane.end();
}

#[test]
fn every_frame_is_received_or_in_a_counter_of_the_kernel() {
    let Some(pairs) = pairs() else { return };
    let mut lane = Lane::with(&pairs, |config| config.rx_ring = 64);
    const FRAMES: u64 = 1000;
    for n in 0..FRAMES {
        lane.inject(&lane.frame(60, n));
    }
    let (mut received, patience) = (0, Patience::new());
    loop {
        received += lane.poll().len() as u64;
        let counters = lane.device_counters();
        let lost = counters["xsk_rx_dropped"] + counters["xsk_rx_ring_full"];
        if received + lost == FRAMES {
            assert!(
                lost >= FRAMES - 128 && received >= 64,
                "{received} received, {counters:?}"
            );
            break;
        }
        patience.wait("the sum to be right");
    }
    let last = lane.device_counters();
    let queues = lane.queues();
    lane.port().stop(queues).unwrap();
    assert_eq!(lane.device_counters(), last, "they stay");
    lane.gone();
}

#[test]
fn several_queues_share_a_umem_and_an_interface() {
    let Some(pairs) = pairs() else { return };
    let pairs = Pairs { queues: 2, ..pairs };
    let mut lane = Lane::with(&pairs, |config| (config.rx_queues, config.tx_queues) = (2, 2));
    let far = lane.far.clone();
    assert_eq!(
        (lane.port().caps().rx_queues, lane.port().caps().tx_queues),
        (2, 2)
    );
    for flow in 0..64 {
        far.inject(&udp(lane.mac, flow * 7919, 0));
    }
    let (mut homes, mut got) = (BTreeSet::new(), 0);
    let (mut batch, patience) = (Batch::new(), Patience::new());
    let Lane { rx, tx, cache, .. } = &mut lane;
    while got < 64 {
        for (index, queue) in rx.iter_mut().enumerate() {
            let n = queue.receive(cache, &mut batch);
            got += n;
            if n > 0 {
                homes.insert(index);
            }
            // What came by one queue leaves by the other.
            tx[1 - index].transmit(cache, &mut batch);
            cache.free(&mut batch);
        }
        patience.wait("flows");
    }
    let (mut back, patience) = (0, Patience::new());
    while back < 64 {
        tx.iter_mut().for_each(|queue| {
            queue.reclaim(cache);
        });
        back += usize::from(far.take().is_some());
        patience.wait("frames to come back");
    }
    eprintln!("queues that frames came by: {homes:?}");
    lane.end();
}

/// Cases of the suite with frames in several buffers, and with the driver's work in our calls.
#[test]
fn cases_with_jumbo_frames_and_with_busy_polling() {
    let Some(pairs) = pairs() else { return };
    let jumbo = Pairs { mtu: 9000, ..pairs };
    for case in [
        "jumbo_frames_pass_both_ways",
        "an_mtu_that_is_accepted_fits_the_buffers",
        "every_length_both_ways",
    ] {
        run(&jumbo, case);
    }
    let busy = Pairs {
        busy_poll: Some(64),
        ..pairs
    };
    for case in [
        "starts_stops_and_starts_again",
        "bursts_of_any_size_wrap_rings_of_any_length",
    ] {
        run(&busy, case);
    }
}
