//! One port of a forwarder, through all that happens to it.

use crate::life::names;
use crate::{Failure, PortReport};
use barline::port::{MacAddress, PortConfig, PortEvent, Queues, RxQueue, TxQueue};
use barline::telemetry::{Cell, RxCounters, TxCounters};
use barline_app::{Counts, adding, start};
use barline_drivers::{Opened, PortSpec};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::time::Instant;

/// The state of a port that forwards.
const RUNNING: &str = "running";

/// A port and its queues' counters, which stay here when the queues go to their cores, and when the device goes away.
#[derive(Debug)]
pub(crate) struct Member {
    pub spec: PortSpec,
    /// None while its device is away.
    pub opened: Option<Opened>,
    /// Receive queues that no lane has, by index.
    pub rx: Vec<Option<Box<dyn RxQueue>>>,
    /// Transmit queues that no lane has, by index.
    pub tx: Vec<Option<Box<dyn TxQueue>>>,
    /// Packets dropped for want of room in a transmit queue, by index.
    pub full: Vec<Arc<CachePadded<Cell>>>,
    /// When to look next whether the device is back.
    pub retry: Instant,
    state: &'static str,
    mac: MacAddress,
    // Of all queues that it has ever had.
    rx_counters: Vec<Arc<CachePadded<RxCounters>>>,
    tx_counters: Vec<Arc<CachePadded<TxCounters>>>,
    /// The device's statistics, kept of earlier runs.
    before: Counts,
    /// Packets that the device had when it was taken away.
    lost: u64,
}

impl Member {
    pub fn new(opened: Opened) -> Self {
        Self {
            spec: opened.spec.clone(),
            mac: opened.port.mac(),
            opened: Some(opened),
            rx: Vec::new(),
            tx: Vec::new(),
            full: Vec::new(),
            retry: Instant::now(),
            state: RUNNING,
            rx_counters: Vec::new(),
            tx_counters: Vec::new(),
            before: Counts::new(),
            lost: 0,
        }
    }

    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Starts the port; its queues are here then.
    pub fn start(&mut self, config: &PortConfig) -> Result<(), Failure> {
        let Some(opened) = &mut self.opened else {
            return Err(Failure::run(format!("{} is away", self.spec)));
        };
        let config = PortConfig {
            offloads: (config.offloads & opened.port.caps().offloads).consistent(),
            ..config.clone()
        };
        let queues = start(opened, &config)?;
        self.mac = opened.port.mac();
        let (rx, tx) = (queues.rx.iter(), queues.tx.iter());
        self.rx_counters.extend(rx.map(|rx| rx.shared_counters()));
        self.tx_counters.extend(tx.map(|tx| tx.shared_counters()));
        self.full.resize_with(queues.tx.len(), Arc::default);
        self.rx = queues.rx.into_iter().map(Some).collect();
        self.tx = queues.tx.into_iter().map(Some).collect();
        self.state = RUNNING;
        Ok(())
    }

    /// `running`, or how its run ended.
    pub fn state(&self) -> &'static str {
        self.state
    }

    /// Whether it was started and not stopped since.
    pub fn is_running(&self) -> bool {
        self.state == RUNNING
    }

    /// Whether its run ended by what nobody asked for: another program has it, it failed, or stands still. A device that was
    /// removed or reset is no failure: somebody wanted that.
    pub fn has_failed(&self) -> bool {
        let failures = [PortEvent::Taken, PortEvent::Error, PortEvent::Stalled];
        failures.iter().any(|event| self.state == names(*event).1)
    }

    /// Whether no lane has a queue of it.
    pub fn is_home(&self) -> bool {
        self.rx.iter().all(Option::is_some) && self.tx.iter().all(Option::is_some)
    }

    /// All queues that are here.
    pub fn take_queues(&mut self) -> Queues {
        Queues {
            rx: self.rx.drain(..).flatten().collect(),
            tx: self.tx.drain(..).flatten().collect(),
        }
    }

    /// Packets that the device has not sent yet, as far as its queues are here.
    pub fn in_flight(&self) -> u64 {
        self.tx.iter().flatten().map(|tx| tx.in_flight() as u64).sum()
    }

    /// The device's run is over: keeps its statistics, and counts what it took with it.
    pub fn remember(&mut self, event: PortEvent) {
        self.lost += self.in_flight();
        self.before = self.device();
        self.state = names(event).1;
    }

    fn device(&mut self) -> Counts {
        let mut counts = self.before.clone();
        if let Some(opened) = &mut self.opened {
            opened.port.counters(&mut adding(&mut counts));
        }
        counts
    }

    pub fn received(&self) -> u64 {
        self.rx_counters.iter().map(|rx| rx.rx_packets.get()).sum()
    }

    /// Packets, as they were received, that its devices took, and that were not lost with one.
    pub fn sent(&self) -> u64 {
        let taken: u64 = self.tx_counters.iter().map(|tx| tx.taken() - tx.dropped()).sum();
        taken.saturating_sub(self.lost)
    }

    /// Packets for this port to send that were dropped, by reason.
    pub fn dropped(&self) -> Counts {
        let sum = |of: fn(&TxCounters) -> u64| self.tx_counters.iter().map(|tx| of(tx)).sum();
        Counts::from([
            ("tx_full", self.full.iter().map(|full| full.get()).sum()),
            ("tx_lengths", sum(|tx| tx.tx_lengths.get())),
            ("tx_unmapped", sum(|tx| tx.tx_unmapped.get())),
            ("tx_offload", sum(|tx| tx.tx_offload.get())),
            ("tx_device_lost", self.lost),
        ])
    }

    pub fn report(&mut self) -> PortReport {
        let mut queues = Counts::new();
        self.rx_counters
            .iter()
            .for_each(|rx| rx.each(adding(&mut queues)));
        self.tx_counters
            .iter()
            .for_each(|tx| tx.each(adding(&mut queues)));
        // Calls that met a full ring there, packets here: one name must not mean both.
        queues.remove("tx_full");
        let link = self.opened.as_ref().map(|opened| opened.port.link());
        PortReport {
            port: self.spec.to_string(),
            state: self.state,
            mac: self.mac.to_string(),
            link: link.map_or(0, |link| if link.up { link.speed } else { 0 }),
            mode: self.opened.as_ref().and_then(|opened| opened.port.mode()),
            queues,
            dropped: self.dropped(),
            device: self.device(),
        }
    }
}
