use crate::telemetry::{RxCounters, TxCounters};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a queue must stand still, seen at two looks at least. A device takes microseconds for what is waited for here.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches the queues of a started port from their counters: whether one stands still for a reason that only its device
/// can have. It tells [`PortEvent::Stalled`](super::PortEvent::Stalled) from a link without traffic and from an application that
/// does not work.
///
/// * A transmit queue whose ring stays full, and that takes nothing, while the link is up.
/// * A receive queue that gives descriptors back and delivers or drops no frame: none that a device has begun ever ends.
/// * What the driver knows of its own device.
#[derive(Debug, Default)]
pub struct Progress {
    rx: Vec<(Arc<CachePadded<RxCounters>>, Still<2>)>,
    tx: Vec<(Arc<CachePadded<TxCounters>>, Still<1>)>,
}

impl Progress {
    /// Of a receive queue.
    pub fn receive(&mut self, counters: &Arc<CachePadded<RxCounters>>) {
        self.rx.push((counters.clone(), Still::default()));
    }

    /// Of a transmit queue.
    pub fn transmit(&mut self, counters: &Arc<CachePadded<TxCounters>>) {
        self.tx.push((counters.clone(), Still::default()));
    }

    /// Looks at all queues. `sends`: the device may send (the link is up, nobody asked for a pause).
    /// `withholds(queue)`: the device says that it has completed every receive descriptor, and one of them is not; a mark
    /// of its place in the ring, which moves with every refill.
    pub fn has_stalled(
        &mut self,
        now: Instant,
        sends: bool,
        withholds: impl Fn(usize) -> Option<u32>,
    ) -> bool {
        let mut stalled = false;
        for (queue, (counters, still)) in self.rx.iter_mut().enumerate() {
            let frames = counters.rx_packets.get() + counters.rx_errors.get() + counters.rx_lengths.get();
            let done = [frames, counters.rx_no_buffer.get()];
            let sign = match withholds(queue) {
                Some(mark) => Sign::Place(mark),
                None => Sign::Count(counters.rx_doorbells.get()),
            };
            stalled |= still.look(now, done, sign);
        }
        for (counters, still) in &mut self.tx {
            if sends {
                let sign = Sign::Count(counters.tx_full.get());
                stalled |= still.look(now, [counters.tx_packets.get()], sign);
            } else {
                *still = Still::default();
            }
        }
        stalled
    }
}

/// What says that a queue should get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Attempts, which grow.
    Count(u64),
    /// A place where it hangs, which stays.
    Place(u32),
}

/// A queue's last look that was worth anything.
#[derive(Debug)]
struct Still<const N: usize> {
    done: [u64; N],
    sign: Sign,
    /// When it first stood still.
    since: Option<Instant>,
}

impl<const N: usize> Default for Still<N> {
    fn default() -> Self {
        Self {
            done: [0; N],
            sign: Sign::Count(0),
            since: None,
        }
    }
}

impl<const N: usize> Still<N> {
    fn look(&mut self, now: Instant, done: [u64; N], sign: Sign) -> bool {
        let hangs = match (self.sign, sign) {
            (Sign::Count(before), Sign::Count(now)) => now > before,
            (Sign::Place(before), Sign::Place(now)) => now == before,
            _ => false,
        };
        if done != self.done || std::mem::discriminant(&sign) != std::mem::discriminant(&self.sign) {
            *self = Self {
                done,
                sign,
                since: None,
            };
        } else if hangs {
            self.sign = sign;
            let since = *self.since.get_or_insert(now);
            return now.saturating_duration_since(since) >= PATIENCE;
        } else if matches!(sign, Sign::Place(_)) {
            (self.sign, self.since) = (sign, None);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        progress: Progress,
        rx: Arc<CachePadded<RxCounters>>,
        tx: Arc<CachePadded<TxCounters>>,
        now: Instant,
    }

    fn rig() -> Rig {
        let (rx, tx) = (RxCounters::shared(), TxCounters::shared());
        let mut progress = Progress::default();
        progress.receive(&rx);
        progress.transmit(&tx);
        let now = Instant::now();
        Rig {
            progress,
            rx,
            tx,
            now,
        }
    }

    impl Rig {
        /// A look, a second later.
        fn look(&mut self, sends: bool, place: Option<u32>) -> bool {
            self.now += Duration::from_secs(1);
            self.progress.has_stalled(self.now, sends, |_| place)
        }
    }

    #[test]
    fn a_full_ring_that_takes_nothing_has_stalled() {
        let mut rig = rig();
        let looks: Vec<bool> = (0..5)
            .map(|_| {
                rig.tx.tx_full.add(3);
                rig.look(true, None)
            })
            .collect();
        assert_eq!(looks, [false, false, true, true, true]);
        // One packet taken: it lives.
        rig.tx.tx_packets.add(1);
        rig.tx.tx_full.add(1);
        assert!(!rig.look(true, None));
    }

    #[test]
    fn without_a_link_or_without_attempts_nothing_is_said() {
        let mut rig = rig();
        for _ in 0..9 {
            rig.tx.tx_full.add(3);
            assert!(!rig.look(false, None));
        }
        for _ in 0..9 {
            assert!(!rig.look(true, None), "nobody tries any more");
        }
    }

    #[test]
    fn a_place_that_hangs_has_stalled_and_one_that_moves_has_not() {
        let mut rig = rig();
        let looks: Vec<bool> = [1, 2, 3, 4, 4, 4, 4].map(|at| rig.look(true, Some(at))).into();
        assert_eq!(looks, [false, false, false, false, false, false, true]);
        assert!(!rig.look(true, None));
    }

    #[test]
    fn frames_that_never_end_have_stalled_and_an_empty_pool_has_not() {
        let mut rig = rig();
        for _ in 0..9 {
            (rig.rx.rx_doorbells.add(1), rig.rx.rx_no_buffer.add(1));
            assert!(!rig.look(true, None));
        }
        for _ in 0..9 {
            (rig.rx.rx_doorbells.add(1), rig.rx.rx_packets.add(1));
            assert!(!rig.look(true, None));
        }
        let looks: Vec<bool> = (0..3)
            .map(|_| {
                rig.rx.rx_doorbells.add(1);
                rig.look(true, None)
            })
            .collect();
        assert_eq!(looks, [false, false, true]);
    }
}
