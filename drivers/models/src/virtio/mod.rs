//! A virtio network device over PCI, the device's side (virtio 1.2 and 1.3; sections are those of 1.3).
//!
//! Done: the modern PCI transport with its five structures and the window in configuration space, feature negotiation,
//! split and packed rings with indirect descriptors, events by index, in-order batches and queue reset; receive with
//! mergeable buffers and with what [`Inbound`] says of packets, transmit with partial checksums and segmentation of TCP,
//! the control queue (receive modes, address, VLANs, pairs, RSS, statistics). Not done: the legacy interface,
//! segmentation of UDP and with ECN, coalescing of received segments, change of receive offloads while up, hash reports,
//! notification data, notification coalescing, announcements, administration queues, suspension, INTx. The MSI-X table is memory and
//! masks nothing: vectors lead where the bus directs them.
//!
//! Where the specification leaves a choice, [`Offer`] makes it. Where it leaves none and a driver errs, a [`Misuse`] is
//! recorded. How to plug it in stands in `drivers/models/README.md`.

mod access;
mod chain;
mod common;
mod control;
mod device;
mod feature;
mod filter;
mod flow;
mod inbound;
mod layers;
mod misuse;
mod numbers;
mod offer;
mod packed;
mod pci;
mod queue;
mod report;
mod run;
mod rx;
mod segment;
mod setup;
mod split;
mod steer;
mod tx;

pub use inbound::Inbound;
pub use misuse::Misuse;
pub use offer::{Offer, Options, Platform, RssOffer};
pub use queue::QueueStats;
pub use report::Report;

use barline_sim::{Clock, ConfigSpace, Effect, Fault, Host, Model, SimDevice};
use common::Common;
use queue::Queue;
use std::sync::Arc;

/// A driver that runs wild must not fill the memory.
const MOST_MISUSES: usize = 256;

/// The model's state; [`VirtioNet::new`] puts it behind the bus.
#[derive(Debug)]
pub struct VirtioNet {
    config: ConfigSpace,
    offer: Offer,
    common: Common,
    queues: Vec<Queue>,
    isr: u8,
    /// MSI-X table and pending bits: memory.
    table: Vec<u32>,
    /// The address it was built with, and the one in force.
    burnt_in: [u8; 6],
    mac: [u8; 6],
    link: bool,
    /// The device configuration has changed since the driver looked.
    config_changed: bool,
    filter: filter::Filter,
    steering: steer::Steering,
    rx: rx::Receiver,
    packet: Vec<u8>,
    notes: Vec<Misuse>,
    misuses: Vec<(Option<u16>, Misuse)>,
}

impl VirtioNet {
    /// A device, powered up, with its cable plugged in.
    pub fn new(options: Options) -> Arc<SimDevice<Self>> {
        Self::faulty(options, Clock::real(), Vec::new())
    }

    /// Likewise, by `clock` and with planned faults.
    pub fn faulty(options: Options, clock: Arc<Clock>, faults: Vec<Fault>) -> Arc<SimDevice<Self>> {
        let Options {
            mac,
            peer,
            domain,
            mode,
            offer,
        } = options;
        let offer = offer.sane();
        let mut model = Self {
            config: pci::config_space(&offer),
            offer,
            common: Common::default(),
            queues: Vec::new(),
            isr: 0,
            table: vec![0; pci::TABLE_LEN as usize / 4],
            burnt_in: mac,
            mac,
            link: true,
            config_changed: false,
            filter: filter::Filter::default(),
            steering: steer::Steering::default(),
            rx: rx::Receiver::default(),
            packet: Vec::new(),
            notes: Vec::new(),
            misuses: Vec::new(),
        };
        model.restart();
        SimDevice::faulty(model, domain, peer, mode, clock, faults)
    }

    /// What the driver did that the specification forbids, with the queue where there is one.
    pub fn misuses(&self) -> &[(Option<u16>, Misuse)] {
        &self.misuses
    }

    /// What it offers.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// `device_status`.
    pub fn status(&self) -> u8 {
        self.common.status
    }

    /// The features that were accepted.
    pub fn features(&self) -> u64 {
        self.common.features
    }

    /// The address that frames are filtered by.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What a queue has seen and done since the last reset of the device.
    pub fn queue_stats(&self, queue: u16) -> Option<QueueStats> {
        self.queues.get(usize::from(queue)).map(|queue| queue.stats)
    }

    /// Whether a queue's ring holds lies about ids or places: what its driver then does is not held against it.
    pub fn has_lied(&self, queue: u16) -> bool {
        let queue = self.queues.get(usize::from(queue));
        queue.is_some_and(|queue| queue.lied())
    }

    /// Size and addresses (descriptor, driver, device area) of an enabled queue.
    pub fn queue_areas(&self, queue: u16) -> Option<(u16, [u64; 3])> {
        let queue = self
            .queues
            .get(usize::from(queue))
            .filter(|queue| queue.enabled())?;
        Some((queue.size, queue.areas))
    }

    fn misuse(&mut self, queue: Option<u16>, what: Misuse) {
        if self.misuses.len() < MOST_MISUSES {
            self.misuses.push((queue, what));
        }
    }

    /// Reset (2.4): all but the link, which is the cable's.
    fn restart(&mut self) {
        let queues = 0..pci::queues(&self.offer);
        let generation = self.common.generation;
        self.common = Common::default();
        self.common.generation = generation;
        self.queues = queues.map(|_| Queue::new(self.offer.queue_size)).collect();
        (self.isr, self.mac) = (0, self.burnt_in);
        self.filter = filter::Filter::default();
        self.steering = steer::Steering::default();
        self.rx.clear();
    }
}

impl Model for VirtioNet {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn bar_len(&self, index: u8) -> usize {
        match index {
            pci::TABLE_BAR => pci::TABLE_LEN as usize,
            pci::BAR => pci::bar_len(&self.offer) as usize,
            _ => 0,
        }
    }

    fn msix_vectors(&self) -> u16 {
        self.offer.vectors
    }

    fn read(&mut self, _host: &mut Host, bar: u8, offset: usize) -> u32 {
        self.read_bytes(bar, offset as u32, 4)
    }

    fn write(&mut self, host: &mut Host, bar: u8, offset: usize, value: u32) -> Effect {
        self.write_bytes(host, bar, offset as u32, 4, value)
    }

    fn read_narrow(&mut self, _host: &mut Host, bar: u8, offset: usize, bytes: u8) -> u32 {
        self.read_bytes(bar, offset as u32, bytes)
    }

    fn write_narrow(&mut self, host: &mut Host, bar: u8, offset: usize, bytes: u8, value: u32) -> Effect {
        self.write_bytes(host, bar, offset as u32, bytes, value)
    }

    fn config_read(&mut self, _host: &mut Host, offset: u16, buf: &mut [u8]) {
        self.read_window(offset, buf.len());
        self.config.read(offset, buf);
    }

    fn config_write(&mut self, host: &mut Host, offset: u16, buf: &[u8]) -> bool {
        self.config.write(offset, buf);
        self.write_window(host, offset, buf.len());
        let mut control = [0; 2];
        self.config.read(pci::DEVICE_CONTROL, &mut control);
        u16::from_le_bytes(control) & pci::FLR != 0
    }

    fn run(&mut self, host: &mut Host, budget: u32) -> u32 {
        if !self.is_live() {
            return self.lose(host, budget);
        }
        let moved = match self.work(host, budget) {
            Ok(moved) => moved,
            Err((queue, why)) => self.check::<u32>(host, queue, Err(why)).unwrap_or(0),
        };
        if self.is_live() {
            self.tell(host);
        }
        moved
    }

    fn reset(&mut self) {
        self.restart();
    }

    fn set_link(&mut self, host: &mut Host, up: bool) {
        if self.link != up {
            self.link = up;
            self.config_changes(host);
        }
    }
}
