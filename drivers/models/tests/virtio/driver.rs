//! The driver around the queues: PCI capabilities, handshake, frames, commands.

use crate::vq::{How, Vq};
use barline::bus::local::LocalDevice;
use barline::mem::{Access, DmaDomain, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source};
use barline_models::virtio::{Offer, Options, VirtioNet};
use barline_sim::{Clock, Fault, Mode, Peer, SimDevice, Wire, WireEnd};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Its lower part is given out over and over, its upper part once.
pub const MEMORY: u64 = 4 << 20;
const LOWER: u64 = 2 << 20;
/// A place where a structure lies: BAR, offset, length.
type Place = (u8, usize, u32);

pub struct Rig {
    pub device: Arc<SimDevice<VirtioNet>>,
    pub domain: Arc<LocalDomain>,
    pub memory: Arc<Mapping>,
    pub places: HashMap<u8, Place>,
    pub multiplier: u32,
    pub features: u64,
    pub queues: HashMap<u16, Vq>,
    pub control: u16,
    /// Bytes of both parts of the memory that were given out.
    taken: u64,
    kept: u64,
    /// Buffers of receive queues are of so many bytes, in so many pieces.
    pub rx_shape: (u32, u32),
    pub indirect: bool,
    /// Frames of which a part was received so far.
    pub vectors: Vec<File>,
}

/// A bit.
pub const fn bit(number: u32) -> u64 {
    1 << number
}

impl Rig {
    pub fn new(offer: Offer) -> (Self, WireEnd) {
        let (near, far) = Wire::pair();
        (Self::with(offer, near, Mode::Sync), far)
    }

    pub fn with(offer: Offer, peer: impl Peer + 'static, mode: Mode) -> Self {
        Self::build(offer, peer, mode, VirtioNet::new)
    }

    pub fn faulty(offer: Offer, peer: impl Peer + 'static, clock: &Arc<Clock>, faults: Vec<Fault>) -> Self {
        let plug = |options| VirtioNet::faulty(options, clock.clone(), faults);
        Self::build(offer, peer, Mode::Sync, plug)
    }

    fn build(
        offer: Offer,
        peer: impl Peer + 'static,
        mode: Mode,
        plug: impl FnOnce(Options) -> Arc<SimDevice<VirtioNet>>,
    ) -> Self {
        let domain = Arc::new(LocalDomain::new());
        let device = plug(Options {
            mac: MAC,
            peer: Box::new(peer),
            domain: domain.clone(),
            mode,
            offer,
        });
        let memory = Memory::new(MEMORY as usize, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
        let space: Arc<dyn DmaDomain> = domain.clone();
        let memory = Mapping::new(&memory, &space, Access::ReadWrite).unwrap();
        let mut rig = Self {
            device,
            domain,
            memory,
            places: HashMap::new(),
            multiplier: 0,
            features: 0,
            queues: HashMap::new(),
            control: 0,
            taken: 0,
            kept: 0,
            rx_shape: (2048, 1),
            indirect: false,
            vectors: Vec::new(),
        };
        rig.find();
        rig.device.config_write(4, &[6, 0]);
        rig
    }

    pub fn config(&self, at: u16, len: usize) -> u32 {
        let mut bytes = [0; 4];
        self.device.config_read(at, &mut bytes[..len]);
        u32::from_le_bytes(bytes)
    }

    /// Walks the capabilities.
    fn find(&mut self) {
        let mut at = self.config(0x34, 1) as u16;
        while !matches!(at, 0 | 0xff) {
            if self.config(at, 1) == 9 {
                let kind = self.config(at + 3, 1) as u8;
                let place = (
                    self.config(at + 4, 1) as u8,
                    self.config(at + 8, 4) as usize,
                    self.config(at + 12, 4),
                );
                self.places.entry(kind).or_insert(place);
                if kind == 2 {
                    self.multiplier = self.config(at + 16, 4);
                }
            }
            at = self.config(at + 1, 1) as u16;
        }
    }

    /// A field of a structure: 1 common, 2 notify, 3 ISR, 4 device.
    pub fn read(&self, kind: u8, at: usize, bytes: u8) -> u32 {
        let (bar, offset, _) = self.places[&kind];
        self.device.bar_read_part(bar, offset + at, bytes.into())
    }

    pub fn write(&self, kind: u8, at: usize, bytes: u8, value: u32) {
        let (bar, offset, _) = self.places[&kind];
        self.device.bar_write_part(bar, offset + at, bytes.into(), value);
    }

    pub fn status(&self) -> u32 {
        self.read(1, 0x14, 1)
    }

    pub fn set_status(&self, value: u32) {
        self.write(1, 0x14, 1, value);
    }

    pub fn offered(&self) -> u64 {
        [0, 1].iter().fold(0, |all, word| {
            self.write(1, 0, 4, *word);
            all | u64::from(self.read(1, 4, 4)) << (32 * word)
        })
    }

    /// Reset up to the features; whether they are accepted.
    pub fn negotiate(&mut self, wanted: u64) -> bool {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.set_status(1);
        self.set_status(3);
        self.features = self.offered() & wanted;
        for word in 0..2 {
            self.write(1, 8, 4, word);
            self.write(1, 12, 4, (self.features >> (32 * word)) as u32);
        }
        self.set_status(0xb);
        self.status() == 0xb
    }

    pub fn has(&self, feature: u32) -> bool {
        self.features & bit(feature) != 0
    }

    /// Everything up to DRIVER_OK; `pairs` queue pairs of `size` descriptors.
    pub fn start(&mut self, wanted: u64, pairs: u16, size: u16) {
        assert!(self.negotiate(wanted), "features were refused");
        let many = self.has(22) || self.has(60);
        let all = if many { self.read(4, 8, 2) as u16 } else { 1 };
        self.control = all * 2;
        for queue in 0..pairs * 2 {
            self.setup(queue, size);
        }
        if self.has(17) {
            self.setup(self.control, size);
        }
        for pair in 0..pairs {
            self.fill(pair);
        }
        self.set_status(0xf);
        for queue in 0..pairs {
            self.kick(queue * 2);
        }
    }

    /// Memory for a while: it comes round again after two MiB.
    pub fn alloc(&mut self, bytes: u64) -> Iova {
        let mut at = self.taken.next_multiple_of(64);
        if at + bytes > LOWER {
            at = 0;
        }
        self.taken = at + bytes;
        self.memory.iova().offset(at)
    }

    /// Memory for good, in pages.
    pub fn keep(&mut self, bytes: u64) -> Iova {
        let at = LOWER + self.kept;
        self.kept += bytes.next_multiple_of(4096);
        assert!(LOWER + self.kept <= MEMORY, "out of memory");
        self.memory.iova().offset(at)
    }

    pub fn select(&self, queue: u16) {
        self.write(1, 0x16, 2, queue.into());
    }

    /// Sets up and enables a queue.
    pub fn setup(&mut self, queue: u16, size: u16) {
        let how = How {
            packed: self.has(34),
            in_order: self.has(35),
            event_idx: self.has(29),
        };
        let at = self.keep(Vq::bytes(size));
        let vq = Vq::new(&self.domain, how, size, at);
        self.select(queue);
        assert!(self.read(1, 0x18, 2) >= u32::from(size), "queue {queue}");
        self.write(1, 0x18, 2, size.into());
        for (n, area) in [vq.desc, vq.driver, vq.device].into_iter().enumerate() {
            self.write(1, 0x20 + n * 8, 4, area.raw() as u32);
            self.write(1, 0x24 + n * 8, 4, (area.raw() >> 32) as u32);
        }
        if !self.vectors.is_empty() {
            let vector = (u32::from(queue) + 1) % self.vectors.len() as u32;
            self.write(1, 0x1a, 2, vector);
            assert_eq!(self.read(1, 0x1a, 2), vector);
        }
        self.write(1, 0x1c, 2, 1);
        assert_eq!(self.read(1, 0x1c, 2), 1);
        self.queues.insert(queue, vq);
    }

    /// Directs so many vectors to eventfds; the configuration gets vector 0. To be called before `start`, after which
    /// `wire_config` writes the register.
    pub fn wire_vectors(&mut self, count: u16) {
        for vector in 0..count {
            let event = barline::wait::EventFd::new().unwrap();
            let fd: OwnedFd = event.duplicate().unwrap();
            self.device.set_msix(vector, Some(fd.try_clone().unwrap()));
            self.vectors.push(File::from(fd));
        }
    }

    pub fn misuses(&self) -> Vec<String> {
        let text = |(queue, what): &(Option<u16>, _)| match queue {
            Some(queue) => format!("{queue}: {what:?}"),
            None => format!("{what:?}"),
        };
        self.device
            .model(|model| model.misuses().iter().map(text).collect())
    }

    /// Nothing that a driver or the device should not have done.
    pub fn assert_clean(&self) {
        assert_eq!(self.misuses(), [""; 0]);
        assert_eq!(self.device.counts().dma_faults, 0);
        assert!(self.domain.take_faults().is_empty());
        assert_eq!(self.status() & 0x40, 0, "needs reset");
    }
}

/// A frame with an ether type that means nothing, whose bytes follow from a number.
pub fn frame(to: [u8; 6], len: usize, number: u8) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.extend((frame.len()..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(number)));
    frame
}

/// A UDP frame of a flow.
pub fn udp(to: [u8; 6], flow: u16, reverse: bool) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 8, 0]].concat();
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0]);
    let ends = [[10, 0, (flow >> 8) as u8, flow as u8], [10, 9, 9, 9]];
    let ports = [1000 + flow, 7];
    let order = if reverse { [1, 0] } else { [0, 1] };
    order.iter().for_each(|end| frame.extend(ends[*end]));
    order
        .iter()
        .for_each(|end| frame.extend(ports[*end].to_be_bytes()));
    frame.resize(60, 0);
    frame
}
