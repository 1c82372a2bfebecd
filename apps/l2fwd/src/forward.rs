//! The packet path: everything that runs a packet, and nothing else.

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::telemetry::Cell;
use barline::wait::{Armed, Cpu, Idle, Source};
use barline::worker::{Inbox, StopToken};
use barline_modes::{Addresses, Lane as Way, Tally, io, mac};
use crossbeam::utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// One queue's way from a port to the port that sends its packets.
#[derive(Debug)]
pub struct Lane {
    /// Where packets come from.
    pub rx: Box<dyn RxQueue>,
    /// Where they go. No other lane has it.
    pub tx: Box<dyn TxQueue>,
    /// What to write over their addresses.
    pub addresses: Option<Addresses>,
    /// Packets dropped because the transmit ring was full.
    pub full: Arc<CachePadded<Cell>>,
    /// Index of the port that receives.
    pub from: usize,
    /// Index of the port that sends.
    pub to: usize,
    /// The queue's index in both ports.
    pub queue: usize,
    /// [`surplus`] when the queues were paired: one of them may have had another partner before.
    pub before: u64,
}

impl Lane {
    /// Moves one burst; false when there was none.
    #[inline]
    fn poll(&mut self, cache: &mut PoolCache, batch: &mut Batch) -> bool {
        let (rx, tx) = (self.rx.as_mut(), self.tx.as_mut());
        let way = Way { rx, tx, cache, batch };
        let mut tally = Tally::default();
        let received = match &self.addresses {
            Some(addresses) => mac(way, addresses, &mut tally),
            None => io(way, &mut tally),
        };
        if tally.full > 0 {
            self.full.add(tally.full);
        }
        debug_assert!(
            self.balances(),
            "{:?}, {:?}",
            self.rx.counters(),
            self.tx.counters()
        );
        received > 0
    }
}

impl Lane {
    /// Whether every packet received is in exactly one counter: the lane has both queues for itself.
    fn balances(&self) -> bool {
        surplus(&*self.rx, &*self.tx, &self.full) == self.before
    }
}

/// Packets sent and dropped, less those received. It does not change while two queues are a lane.
pub fn surplus(rx: &dyn RxQueue, tx: &dyn TxQueue, full: &Cell) -> u64 {
    let (rx, tx) = (rx.counters(), tx.counters());
    tx.taken()
        .wrapping_add(full.get())
        .wrapping_sub(rx.rx_packets.get())
}

impl Source for Lane {
    /// Its transmit queue was looked at in the round that found nothing. What is still in there can only be given back
    /// by a look: there is no interrupt for it.
    fn arm(&mut self) -> Armed {
        let held = if self.tx.in_flight() > 0 {
            Armed::Holds
        } else {
            Armed::Wakes
        };
        self.rx.arm().max(held)
    }

    fn disarm(&mut self) {
        self.rx.disarm();
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.rx.wake_fd()
    }

    fn pause(&self, cpu: Cpu) {
        self.rx.pause(cpu);
    }
}

/// Longest wait at the end for the devices to send what they were given.
const DRAIN: Duration = Duration::from_millis(100);

/// What a worker is told.
#[derive(Debug)]
pub enum Mail {
    /// Forward on this lane too.
    Take(Box<Lane>),
    /// Give back the lanes of ports that were stopped.
    Release,
}

/// Forwards on the lanes that it is sent until it is stopped, then waits for what is on its way out and returns them.
/// No allocation, lock, clock or system call while there is traffic.
pub fn forward(
    stop: &StopToken,
    mut idle: Idle,
    inbox: &Inbox<Mail>,
    home: &Sender<Lane>,
    pool: &Pool,
    burst: usize,
) -> Vec<Lane> {
    let mut lanes = Vec::new();
    let mut cache = pool.cache();
    let mut batch = Batch::with_burst(burst);
    while !stop.is_stopped() {
        while let Some(mail) = inbox.take() {
            obey(mail, &mut lanes, &idle, home);
        }
        let mut busy = false;
        for lane in &mut lanes {
            busy |= lane.poll(&mut cache, &mut batch);
        }
        idle.turn(busy, &mut lanes);
    }
    // Lanes that never got here have packets of nobody.
    while let Some(mail) = inbox.take() {
        obey(mail, &mut lanes, &idle, home);
    }
    drain(&mut lanes, &mut cache);
    lanes
}

#[cold]
fn obey(mail: Mail, lanes: &mut Vec<Lane>, idle: &Idle, home: &Sender<Lane>) {
    match mail {
        Mail::Take(lane) => {
            if let Err(error) = idle.watch(&*lane) {
                // It wakes nobody, so that its packets wait for the end of a sleep.
                tracing::warn!(%error, "a queue cannot wake its core");
            }
            lanes.push(*lane);
        }
        Mail::Release => {
            for lane in lanes.extract_if(.., |lane| lane.rx.has_ended() || lane.tx.has_ended()) {
                idle.forget(&lane);
                // Without a receiver the forwarder is gone, and nobody wants the lane.
                let _ = home.send(lane);
            }
        }
    }
}

fn drain(lanes: &mut [Lane], cache: &mut PoolCache) {
    let end = Instant::now() + DRAIN;
    let waits = |lanes: &[Lane]| lanes.iter().any(|lane| lane.tx.in_flight() > 0);
    while waits(lanes) && Instant::now() < end {
        for lane in &mut *lanes {
            lane.tx.reclaim(cache);
        }
        yield_now();
    }
}
