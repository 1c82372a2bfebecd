//! The poll loop of one core: everything that runs a packet, and nothing else.

use barline::pool::{Pool, PoolCache};
use barline::port::{RxQueue, TxQueue};
use barline::worker::{Inbox, StopToken};
use barline_traffic::{Buckets, Clock, Cost, Receiver, Sender, Snapshot};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// One queue of a port, in both directions.
#[derive(Debug)]
pub struct Lane {
    /// Index of the port.
    pub port: usize,
    /// Index of the queue, and how many the port has.
    pub queue: [u64; 2],
    /// Where packets go, and what makes them.
    pub tx: (Box<dyn TxQueue>, Option<Sender>),
    /// Where packets come from, and who looks at them.
    pub rx: (Box<dyn RxQueue>, Receiver),
    /// Where others look.
    pub board: Arc<Board>,
    /// Whether packets are made now.
    pub sending: bool,
}

/// What a lane shows of itself to other threads.
#[derive(Debug, Default)]
pub struct Board(Mutex<Shown>);

/// A lane as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Packets made of each stream since the start or the last [`Order::Begin`].
    pub made: Vec<u64>,
    /// Packets made since the start.
    pub made_ever: u64,
    /// Packets made and not yet taken by the queue.
    pub held: u64,
    /// Packets that were due and that no buffer was left for.
    pub starved: u64,
    /// How late packets were, in nanoseconds.
    pub late: Buckets,
    /// Nanoseconds that were not caught up.
    pub slipped: u64,
    /// Whether nothing is to be sent any more, or nothing is being sent.
    pub done: bool,
    /// What came.
    pub came: Snapshot,
    /// Orders carried out.
    pub orders: u64,
}

impl Board {
    /// The lane, as it was last shown.
    pub fn look(&self) -> Shown {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, write: impl FnOnce(&mut Shown)) {
        // Whoever looks just now sees the next one.
        if let Ok(mut shown) = self.0.try_lock() {
            write(&mut shown);
        }
    }
}

/// What a worker is told. Each is for all its lanes.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Begin to send anew: flows from this number on (each lane adds its own), so many packets of each port.
    Begin {
        /// Added to the flows' numbers.
        flows: u16,
        /// Packets that the port's lanes share; without end if there is none.
        packets: Option<u64>,
        /// What a packet costs.
        cost: Cost,
        /// Only this stream.
        only: Option<u16>,
    },
    /// Forget what came.
    Clear,
    /// Go on at another rate.
    Rate(Cost),
    /// Send no more, or go on.
    Send(bool),
}

/// An order with the ports whose lanes it is for.
#[derive(Clone, Debug)]
pub struct Mail {
    /// What to do.
    pub order: Order,
    /// For which port; all if there is none.
    pub port: Option<usize>,
}

/// Nanoseconds between two looks of others.
const SHOW: u64 = 20_000_000;
/// Rounds without a packet after which the core looks whether it can rest.
const IDLE: u32 = 1000;
/// Rest while nothing is to be sent, at the most: what comes in that time waits for it, so it is short.
const REST: Duration = Duration::from_micros(20);
/// Longest wait at the end for queues to take what was made, and for devices to send it, in nanoseconds.
const DRAIN: u64 = 100_000_000;

/// Sends and receives until it is stopped; then gives the lanes back.
pub fn run(
    stop: &StopToken,
    inbox: &Inbox<Mail>,
    mut lanes: Vec<Lane>,
    first_flow: &[u16],
    pool: &Pool,
    clock: &Clock,
) -> Vec<Lane> {
    let mut cache = pool.cache();
    let (mut shown, mut idle, mut orders) = (0, 0u32, 0);
    while !stop.is_stopped() {
        let now = clock.now();
        while let Some(mail) = inbox.take() {
            orders += 1;
            obey(&mail, &mut lanes, first_flow, now);
            shown = 0;
        }
        let mut busy = false;
        for lane in &mut lanes {
            busy |= lane.poll(&mut cache, clock);
        }
        if now >= shown {
            lanes.iter_mut().for_each(|lane| lane.show(orders));
            shown = now + SHOW;
        }
        idle = if busy { 0 } else { idle + 1 };
        if idle > IDLE && !lanes.iter().any(|lane| lane.sending) {
            sleep(REST);
        }
    }
    drain(&mut lanes, &mut cache, clock);
    lanes.iter_mut().for_each(|lane| lane.show(orders));
    lanes
}

fn obey(mail: &Mail, lanes: &mut [Lane], first_flow: &[u16], now: u64) {
    let meant = |lane: &&mut Lane| mail.port.is_none_or(|port| lane.port == port);
    let each = lanes.iter_mut().zip(first_flow).filter(|(lane, _)| meant(lane));
    for (lane, first) in each {
        if let Order::Clear = mail.order {
            lane.rx.1.analyser.clear();
        }
        let Some(sender) = &mut lane.tx.1 else { continue };
        match mail.order {
            Order::Begin {
                flows,
                packets,
                cost,
                only,
            } => {
                let [queue, queues] = lane.queue;
                // Every so many of the port's packets are this queue's; the first queues have one more.
                let packets = packets.map(|all| all / queues + u64::from(queue < all % queues));
                sender.generator.select(only);
                sender.pacer.set_cost(cost);
                sender.restart(first + flows, packets, now);
                lane.sending = true;
            }
            Order::Clear => (),
            Order::Rate(cost) => sender.pacer.set_cost(cost),
            Order::Send(send) => {
                if send && !lane.sending {
                    sender.pacer.restart(now);
                }
                lane.sending = send;
            }
        }
    }
}

impl Lane {
    /// One burst each way; false when there was none.
    #[inline]
    fn poll(&mut self, cache: &mut PoolCache, clock: &Clock) -> bool {
        let got = self.rx.1.poll(&mut *self.rx.0, cache, || clock.now());
        let sent = match &mut self.tx.1 {
            Some(sender) if self.sending => {
                let sent = sender.poll(&mut *self.tx.0, cache, clock.now());
                if sent > 0 || !sender.is_done() {
                    sent
                } else {
                    self.sending = false;
                    0
                }
            }
            // What was made before it was told to stop still goes.
            Some(sender) if sender.held() > 0 => sender.flush(&mut *self.tx.0, cache),
            _ => {
                self.tx.0.reclaim(cache);
                0
            }
        };
        got + sent > 0
    }

    fn show(&mut self, orders: u64) {
        let Self {
            tx,
            rx,
            board,
            sending,
            ..
        } = self;
        board.show(|shown| {
            if let Some(sender) = &tx.1 {
                shown.made = sender.generator.made();
                shown.made_ever = sender.made();
                shown.held = sender.held() as u64;
                shown.starved = sender.starved();
                shown.late.copy_from(sender.pacer.late());
                shown.slipped = sender.pacer.slipped();
            }
            shown.done = !*sending && shown.held == 0;
            rx.1.analyser.snapshot(&mut shown.came);
            shown.orders = orders;
        });
    }
}

fn drain(lanes: &mut [Lane], cache: &mut PoolCache, clock: &Clock) {
    let end = clock.now() + DRAIN;
    let waits =
        |lane: &Lane| lane.tx.1.as_ref().is_some_and(|sender| sender.held() > 0) || lane.tx.0.in_flight() > 0;
    while lanes.iter().any(waits) && clock.now() < end {
        for lane in &mut *lanes {
            lane.sending = false;
            lane.poll(cache, clock);
            lane.tx.0.reclaim(cache);
        }
    }
}
