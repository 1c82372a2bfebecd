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
/// * A receive queue with a descriptor that the device has passed and not completed, while the device drops frames.
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
    /// `withheld(queue)`: by the device's word it has passed a receive descriptor that it was given, and that descriptor
    /// is not complete.
    pub fn has_stalled(
        &mut self,
        now: Instant,
        sends: bool,
        withheld: impl Fn(usize) -> Option<Withheld>,
    ) -> bool {
        let mut stalled = false;
        for (queue, (counters, still)) in self.rx.iter_mut().enumerate() {
            let frames = counters.rx_packets.get() + counters.rx_errors.get() + counters.rx_lengths.get();
            let done = [frames, counters.rx_no_buffer.get()];
            let sign = match withheld(queue) {
                Some(descriptor) => Sign::Withheld(descriptor),
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

/// A receive descriptor that the device has passed and not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Its index.
    pub place: u32,
    /// Frames for which the device has found no descriptor so far, of whatever queue.
    pub lost: u64,
}

/// What says that a queue should get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Attempts, which grow.
    Count(u64),
    /// A descriptor, which stays.
    Withheld(Withheld),
}

impl Sign {
    /// Whether it says so again: `None` where it says nothing, `false` where it speaks of something else.
    fn again(self, before: Self) -> Option<bool> {
        match (before, self) {
            (Self::Count(before), Self::Count(now)) => (now != before).then_some(true),
            (Self::Withheld(before), Self::Withheld(now)) if now.place == before.place => {
                (now.lost != before.lost).then_some(true)
            }
            _ => Some(false),
        }
    }
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
        match sign.again(self.sign) {
            Some(true) if done == self.done => {
                self.sign = sign;
                let since = *self.since.get_or_insert(now);
                now.saturating_duration_since(since) >= PATIENCE
            }
            None if done == self.done => false,
            _ => {
                let since = None;
                *self = Self { done, sign, since };
                false
            }
        }
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
        fn look(&mut self, sends: bool, withheld: Option<(u32, u64)>) -> bool {
            self.now += Duration::from_secs(1);
            let withheld = withheld.map(|(place, lost)| Withheld { place, lost });
            self.progress.has_stalled(self.now, sends, |_| withheld)
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
    fn a_descriptor_that_stays_while_frames_are_lost_has_stalled() {
        let mut rig = rig();
        for _ in 0..9 {
            assert!(!rig.look(true, Some((4, 7))), "nothing is lost");
        }
        let places = [1, 2, 3, 4, 4, 4, 4];
        let looks: Vec<bool> = (10..)
            .zip(places)
            .map(|(lost, at)| rig.look(true, Some((at, lost))))
            .collect();
        assert_eq!(looks, [false, false, false, false, false, false, true]);
        assert!(!rig.look(true, None));
    }

    #[test]
    fn frames_that_never_end_have_stalled_and_an_empty_pool_has_not() {
        let mut rig = rig();
        for _ in 0..9 {
            rig.rx.rx_doorbells.add(1);
            rig.rx.rx_no_buffer.add(1);
            assert!(!rig.look(true, None));
        }
        for _ in 0..9 {
            rig.rx.rx_doorbells.add(1);
            rig.rx.rx_packets.add(1);
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
