//! One queue's way from a port to the port that sends: l2fwd's, each burst checked.

use crate::oracle::{Limits, Oracle, Seen};
use crate::world::World;
use anyhow::{Result, ensure};
use barline::pool::{Batch, PoolCache};
use barline::port::{MacAddress, RxQueue, TxQueue};
use barline_modes::{Lane as Way, Mode, Settings, Tally, run_burst};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A lane.
#[derive(Debug)]
pub struct Lane {
    /// Where packets come from.
    pub rx: Box<dyn RxQueue>,
    /// Where they go.
    pub tx: Box<dyn TxQueue>,
    /// The port that receives.
    pub from: usize,
    /// The port that sends.
    pub to: usize,
    /// The queue's index in both.
    pub queue: usize,
    /// What became of its packets.
    pub tally: Tally,
    settings: Settings,
    oracle: Box<dyn Oracle>,
}

impl Lane {
    /// A lane of two queues; `mac` is the sending port's.
    pub fn new(
        (rx, tx): (Box<dyn RxQueue>, Box<dyn TxQueue>),
        (from, to): (usize, usize),
        queue: usize,
        mac: MacAddress,
        oracle: Box<dyn Oracle>,
    ) -> Self {
        Self {
            rx,
            tx,
            from,
            to,
            queue,
            tally: Tally::default(),
            settings: Settings::l2fwd(to as u8, mac),
            oracle,
        }
    }

    /// Moves one burst. It must find what is there, read no register, and ring each doorbell once at most.
    pub fn burst(&mut self, world: &World, cache: &mut PoolCache, batch: &mut Batch) -> Result<()> {
        let (source, target) = (
            &*world.stations[self.from].device,
            &*world.stations[self.to].device,
        );
        let wanted = if source.is_gone() {
            None
        } else {
            let limits = Limits {
                room: batch.room() as u64,
                buffer: world.pool.data_room() as u32,
                frame: world.stations[self.from].mtu.get() + 18,
            };
            self.oracle.look(&world.domain, limits)
        };
        let before = (Seen::of(self.rx.counters()), source.counts(), target.counts());
        let way = Way {
            rx: self.rx.as_mut(),
            tx: self.tx.as_mut(),
            cache,
            batch,
        };
        run_burst(Mode::Mac, &self.settings, way, &mut self.tally);
        let found = Seen::of(self.rx.counters()).since(before.0);
        let (at, queue) = (self.from, self.queue);
        if let Some(wanted) = wanted {
            ensure!(
                found == wanted,
                "port {at} queue {queue}: {found:?}, and there was {wanted:?}"
            );
        }
        let (source, target) = (source.counts(), target.counts());
        ensure!(
            (source.reads, target.reads) == (before.1.reads, before.2.reads),
            "port {at} queue {queue}: a burst reads registers"
        );
        let rings = source.rx_doorbells[queue] - before.1.rx_doorbells[queue];
        ensure!(
            rings <= 1,
            "port {at} queue {queue}: {rings} receive doorbells in a burst"
        );
        let rings = target.tx_doorbells[queue] - before.2.tx_doorbells[queue];
        ensure!(
            rings <= 1,
            "port {} queue {queue}: {rings} transmit doorbells in a burst",
            self.to
        );
        self.balances()
    }

    /// Whether the receive queue's interrupt has come since it was armed.
    pub fn is_woken(&self) -> bool {
        let Some(fd) = self.rx.wake_fd() else {
            return false;
        };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Whether a healthy device has left a frame for the receive queue.
    pub fn has_news(&self, world: &World) -> bool {
        let station = &world.stations[self.from];
        if station.plan.may_not_wake() || !station.device.works() {
            return false;
        }
        self.oracle.pending(&world.domain)
    }

    /// What was received is sent, or dropped for a reason; and both queues say the same.
    fn balances(&self) -> Result<()> {
        let (rx, tx, tally) = (self.rx.counters(), self.tx.counters(), &self.tally);
        let refused = tx.dropped();
        ensure!(
            tally.received == rx.rx_packets.get()
                && tally.sent == tx.tx_packets.get()
                && tally.refused == refused
                && tally.is_balanced(),
            "port {} queue {}: {tally:?}, {refused} refused, {rx:?}, {tx:?}",
            self.from,
            self.queue
        );
        Ok(())
    }
}
