//! The driver's side, played by hand from the data sheet. Offsets are written out on purpose: nothing is shared with
//! the model.
#![allow(dead_code, reason = "each test file uses its own part")]

use barline::bus::local::LocalDevice;
use barline::mem::{Access, DmaDomain, Iova, LocalDomain, Mapping, Memory, Numa, PageSize, Source};
use barline_models::e82576::{E82576, Options};
use barline_sim::{Clock, Fault, Mode, Peer, SimDevice};
use std::sync::Arc;

pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const RING: u32 = 64;
/// Bytes of one queue's part of the memory: two rings and a buffer of 2 KiB for each descriptor.
const PART: u64 = 512 << 10;
const TX_RING: u64 = 0x4000;
const RX_BUFFERS: u64 = 0x1_0000;
const TX_BUFFERS: u64 = 0x4_0000;

pub const RS: u64 = 1 << 27;

pub struct Rig {
    pub device: Arc<SimDevice<E82576>>,
    pub domain: Arc<LocalDomain>,
    pub memory: Arc<Mapping>,
    rx_next: [u32; 16],
    rx_tail: [u32; 16],
    tx_tail: [u32; 16],
}

/// What a receive descriptor said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub frame: Vec<u8>,
    pub word0: u64,
    pub word1: u64,
}

impl Rig {
    pub fn new(peer: impl Peer + 'static) -> Self {
        Self::with(peer, MAC, Mode::Sync)
    }

    pub fn with(peer: impl Peer + 'static, mac: [u8; 6], mode: Mode) -> Self {
        Self::build(peer, mac, mode, E82576::new)
    }

    /// By a clock and with planned faults.
    pub fn faulty(peer: impl Peer + 'static, clock: &Arc<Clock>, faults: Vec<Fault>) -> Self {
        let plug = |options| E82576::faulty(options, clock.clone(), faults);
        Self::build(peer, MAC, Mode::Sync, plug)
    }

    fn build(
        peer: impl Peer + 'static,
        mac: [u8; 6],
        mode: Mode,
        plug: impl FnOnce(Options) -> Arc<SimDevice<E82576>>,
    ) -> Self {
        let domain = Arc::new(LocalDomain::new());
        let device = plug(Options {
            mac,
            peer: Box::new(peer),
            domain: domain.clone(),
            mode,
        });
        let memory = Memory::new(16 * PART as usize, Source::MemFd(PageSize::Base4K), Numa::Any).unwrap();
        let space: Arc<dyn DmaDomain> = domain.clone();
        let memory = Mapping::new(&memory, &space, Access::ReadWrite).unwrap();
        Self {
            device,
            domain,
            memory,
            rx_next: [0; 16],
            rx_tail: [0; 16],
            tx_tail: [0; 16],
        }
    }

    pub fn write(&self, offset: usize, value: u32) {
        self.device.bar_write(0, offset, value);
    }

    pub fn read(&self, offset: usize) -> u32 {
        self.device.bar_read(0, offset)
    }

    pub fn master(&self, on: bool) {
        self.device.config_write(4, &[if on { 6 } else { 2 }, 0]);
    }

    fn at(&self, queue: usize, offset: u64) -> Iova {
        self.memory.iova().offset(queue as u64 * PART + offset)
    }

    pub fn rx_desc(&self, queue: usize, index: u32) -> Iova {
        self.at(queue, u64::from(index) * 16)
    }

    pub fn tx_desc(&self, queue: usize, index: u32) -> Iova {
        self.at(queue, TX_RING + u64::from(index) * 16)
    }

    pub fn rx_buffer(&self, queue: usize, index: u32) -> Iova {
        self.at(queue, RX_BUFFERS + u64::from(index) * 2048)
    }

    pub fn tx_buffer(&self, queue: usize, index: u32) -> Iova {
        self.at(queue, TX_BUFFERS + u64::from(index) * 2048)
    }

    /// Reset, link up, one queue each way with all receive descriptors posted, both directions on.
    pub fn start(&mut self, queues: usize) {
        self.start_stopped(queues);
        for queue in 0..queues {
            self.post(queue, RING - 1);
        }
    }

    /// Like [`Rig::start`], without receive descriptors.
    pub fn start_stopped(&mut self, queues: usize) {
        self.master(true);
        self.write(0x0000, 1 << 26);
        assert_eq!(self.read(0x0000) & (1 << 26), 0, "reset clears itself");
        self.write(0x0000, 1 << 6 | 1);
        assert_eq!(self.read(0x0008) & 3, 3, "link and full duplex");
        for queue in 0..queues {
            self.setup(queue);
        }
        // RXEN, BAM, SECRC.
        self.write(0x0100, 1 << 1 | 1 << 15 | 1 << 26);
        // EN, PSP.
        self.write(0x0400, 1 << 1 | 1 << 3);
    }

    fn setup(&mut self, queue: usize) {
        let (rx, tx) = (self.rx_desc(queue, 0).raw(), self.tx_desc(queue, 0).raw());
        let block = queue * 0x40;
        self.write(0xC000 + block, rx as u32);
        self.write(0xC004 + block, (rx >> 32) as u32);
        self.write(0xC008 + block, RING * 16);
        // 2 KiB buffers, advanced descriptors with one buffer.
        self.write(0xC00C + block, 2 | 1 << 25);
        self.write(0xE000 + block, tx as u32);
        self.write(0xE004 + block, (tx >> 32) as u32);
        self.write(0xE008 + block, RING * 16);
        for control in [0xC028, 0xE028] {
            self.write(control + block, 1 << 25);
            assert_ne!(self.read(control + block) & (1 << 25), 0, "enabled");
        }
        (self.rx_next[queue], self.rx_tail[queue], self.tx_tail[queue]) = (0, 0, 0);
    }

    /// Gives `count` receive descriptors to the device.
    pub fn post(&mut self, queue: usize, count: u32) {
        for _ in 0..count {
            let index = self.rx_tail[queue];
            let at = self.rx_desc(queue, index);
            self.domain.store(at, self.rx_buffer(queue, index).raw()).unwrap();
            self.domain.store(at.offset(8), 0).unwrap();
            self.rx_tail[queue] = (index + 1) % RING;
        }
        self.write(0xC018 + queue * 0x40, self.rx_tail[queue]);
    }

    /// Takes one received descriptor without posting a new one.
    pub fn take(&mut self, queue: usize) -> Option<Received> {
        let index = self.rx_next[queue];
        let at = self.rx_desc(queue, index);
        let word1 = self.domain.load(at.offset(8)).unwrap();
        if index == self.rx_tail[queue] || word1 & 1 == 0 {
            return None;
        }
        let word0 = self.domain.load(at).unwrap();
        let mut frame = vec![0; (word1 >> 32 & 0xffff) as usize];
        self.domain
            .read(self.rx_buffer(queue, index), &mut frame)
            .unwrap();
        self.rx_next[queue] = (index + 1) % RING;
        Some(Received { frame, word0, word1 })
    }

    /// Takes one received descriptor and posts a new one.
    pub fn receive(&mut self, queue: usize) -> Option<Received> {
        let received = self.take(queue)?;
        self.post(queue, 1);
        Some(received)
    }

    /// Puts one transmit descriptor into the ring; `flags` is ORed into its second word.
    pub fn put(&mut self, queue: usize, bytes: &[u8], flags: u64) -> u32 {
        let index = self.tx_tail[queue];
        self.domain.write(self.tx_buffer(queue, index), bytes).unwrap();
        self.put_words(
            queue,
            [self.tx_buffer(queue, index).raw(), bytes.len() as u64 | flags],
        );
        index
    }

    pub fn put_words(&mut self, queue: usize, words: [u64; 2]) {
        let index = self.tx_tail[queue];
        let at = self.tx_desc(queue, index);
        self.domain.store(at, words[0]).unwrap();
        self.domain.store(at.offset(8), words[1]).unwrap();
        self.tx_tail[queue] = (index + 1) % RING;
    }

    pub fn ring(&self, queue: usize) {
        self.write(0xE018 + queue * 0x40, self.tx_tail[queue]);
    }

    /// Sends one frame in one descriptor: data, DEXT, EOP, IFCS, RS, PAYLEN.
    pub fn send(&mut self, queue: usize, frame: &[u8]) -> u32 {
        let index = self.put(queue, frame, data(frame.len()) | RS);
        self.ring(queue);
        index
    }

    pub fn tx_done(&self, queue: usize, index: u32) -> bool {
        self.domain.load(self.tx_desc(queue, index).offset(8)).unwrap() >> 32 & 1 != 0
    }

    /// Nothing that a driver or the device should not have done.
    pub fn assert_clean(&self) {
        self.device.model(|model| {
            assert!(model.misuses().is_empty(), "{:?}", model.misuses());
            assert!(
                model.unknown_registers().is_empty(),
                "{:?}",
                model.unknown_registers()
            );
        });
        assert_eq!(self.device.counts().dma_faults, 0);
        assert!(self.domain.take_faults().is_empty());
    }
}

/// Second word of a one-descriptor frame: DTYP 3, EOP, IFCS, DEXT, PAYLEN.
pub fn data(len: usize) -> u64 {
    3 << 20 | 1 << 24 | 1 << 25 | 1 << 29 | (len as u64) << 46
}

/// A frame with an ether type that means nothing.
pub fn frame(to: [u8; 6], len: usize, fill: u8) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.resize(len, fill);
    frame
}
