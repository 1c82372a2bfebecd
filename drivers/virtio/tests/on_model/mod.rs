//! The driver on the model of the device, as a subject of the suite.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::bus::local::LocalFunction;
use barline::mem::LocalDomain;
use barline_conformance::local::{LocalFar, Vices};
use barline_conformance::{Nature, Station, Subject};
use barline_models::virtio::{self as model, Inbound, Offer, Platform, RssOffer, VirtioNet};
use barline_sim::{Clock, Corrupt, Fault, Mode, SimDevice, Wire, WireEnd};
use barline_virtio::{Options, Virtio};
use std::sync::Arc;
use std::time::Duration;

/// Ports on the model, which offers as much and runs in one of its ways.
#[derive(Clone, Debug)]
pub struct OnModel {
    /// Whose time the device runs on.
    pub mode: Mode,
    /// What the device offers.
    pub offer: Offer,
    /// What the driver takes of it.
    pub options: Options,
}

/// A device of four pairs that offers all there is.
pub fn everything() -> Offer {
    Offer {
        queue_size: 1024,
        pairs: 4,
        rss: Some(RssOffer::default()),
        vectors: 5,
        statistics: true,
        segmentation: true,
        guest_checksum: true,
        guest_segmentation: true,
        inbound: Inbound::Uncut(500),
        platform: Platform::Required,
        ..Offer::default()
    }
}

impl OnModel {
    /// Split rings, one frame a buffer, completions in any order.
    pub fn split(mode: Mode) -> Self {
        let options = Options {
            packed: false,
            in_order: false,
            ..Options::default()
        };
        // A transitional device; the spread is its own matter, and it tells no statistics.
        let offer = Offer {
            transitional: true,
            rss: None,
            statistics: false,
            platform: Platform::Offered,
            backwards: true,
            ..everything()
        };
        Self { mode, offer, options }
    }

    /// Packed rings, likewise; the device offers all there is.
    pub fn packed(mode: Mode) -> Self {
        let mut subject = Self::split(mode);
        (subject.options.packed, subject.offer) = (true, everything());
        subject.offer.backwards = true;
        subject
    }

    /// Completions in order, told in batches.
    pub fn in_order(mut self) -> Self {
        (self.options.in_order, self.offer.batch) = (true, 5);
        self
    }

    /// Frames in several buffers.
    pub fn merging(mut self) -> Self {
        self.options.merge = true;
        self
    }

    /// Notifications at a position, or none of them.
    pub fn event_idx(mut self, on: bool) -> Self {
        self.options.event_idx = Some(on);
        self
    }

    fn options(&self, domain: &Arc<LocalDomain>, near: WireEnd, index: u8) -> model::Options {
        model::Options {
            mac: [0x02, 0, 0, 0, 0, index + 1],
            peer: Box::new(near),
            domain: domain.clone(),
            mode: self.mode,
            offer: self.offer.clone(),
        }
    }

    /// A station whose device can be reached from the test too.
    pub fn station(&self, domain: &Arc<LocalDomain>, index: u8) -> (Station, Arc<SimDevice<VirtioNet>>) {
        let (near, far) = Wire::pair();
        let device = VirtioNet::new(self.options(domain, near, index));
        (self.plugged(domain, &device, far, index), device)
    }

    /// A station whose device has planned faults, and its time.
    pub fn faulty(
        &self,
        domain: &Arc<LocalDomain>,
        faults: Vec<Fault>,
    ) -> (Station, Arc<SimDevice<VirtioNet>>, Arc<Clock>) {
        let (near, far) = Wire::pair();
        let clock = Clock::virtual_until(Duration::from_secs(1000));
        let device = VirtioNet::faulty(self.options(domain, near, 0), clock.clone(), faults);
        (self.plugged(domain, &device, far, 0), device, clock)
    }

    fn plugged(
        &self,
        domain: &Arc<LocalDomain>,
        device: &Arc<SimDevice<VirtioNet>>,
        far: WireEnd,
        index: u8,
    ) -> Station {
        let address = format!("0000:{:02x}:00.0", index + 1).parse().unwrap();
        let function = Arc::new(LocalFunction::new(device.clone(), address, domain.clone()));
        let options = self.options;
        let vices = Vices {
            parts: VICES.parts.filter(|_| options.merge),
            ..VICES
        };
        let far = LocalFar::new(device, domain, far, misuses, damage).with_vices(vices);
        let open = Box::new(move || Ok(Box::new(Virtio::open(function.clone(), options)?) as Box<_>));
        let far = Arc::new(far);
        Station { open, far }
    }
}

impl Subject for OnModel {
    fn bench(&self, ports: usize) -> Vec<Station> {
        let domain = Arc::new(LocalDomain::new());
        (0..ports)
            .map(|index| self.station(&domain, index as u8).0)
            .collect()
    }

    fn nature(&self) -> Nature {
        Nature {
            marks_damage: false,
            speaks_for_others: self.options.in_order,
            makes_up_for_reports: false,
            limits_lengths: true,
        }
    }
}

/// `device_status` (4.1.4.3), which is not 0 after a reset: DRIVER_OK stays. Rings have no registers that tell of places.
/// The model does not blame a driver for what its own lies led to.
const VICES: Vices = Vices {
    end: None,
    parts: Some(|words, count| words[0] = words[0] & !(0xffff << 32) | u64::from(count) << 32),
    vector: 1,
    wedged: &[(4, 0x1014, 4, 0)],
    pointers: &[],
    own: |_| false,
};

/// What the driver did that the specification forbids.
fn misuses(model: &VirtioNet) -> Vec<String> {
    let text = |(queue, what): &(Option<u16>, _)| format!("queue {queue:?}: {what:?}");
    model.misuses().iter().map(text).collect()
}

/// Virtio reports no damaged frames. The nearest to it: fewer bytes than the header has.
fn damage() -> Corrupt {
    Corrupt::Words(Box::new(|words| words[1] = u64::from(-4i32 as u32) << 32))
}
