//! How many frames a second the model moves by itself: one thread forwards between two 82576 with generated traffic,
//! with a driver that does the least possible. Prints one line.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its only output")]

use barline::bus::local::LocalDevice;
use barline::mem::{
    Access, Desc16, DmaDomain, DmaSlice, LocalDomain, Mapping, Memory, Numa, PageSize, Source,
};
use barline_models::e82576::{E82576, Options};
use barline_sim::{FrameSpec, Generator, Mode, SimDevice, Sink, Traffic};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

const RING: u32 = 1024;
const BURST: u32 = 32;
const FRAMES: u64 = 4_000_000;
const RING_BYTES: usize = RING as usize * 16;
const BUFFERS: u64 = 1 << 16;
const PORT_BYTES: usize = (1 << 16) + RING as usize * 2048;

struct Port {
    device: Arc<SimDevice<E82576>>,
    rx: DmaSlice<Desc16>,
    tx: DmaSlice<Desc16>,
    buffers: u64,
    next: u32,
    sent: u32,
}

impl Port {
    fn new(domain: &Arc<LocalDomain>, sink: &Sink, mac: [u8; 6]) -> Result<Self, Box<dyn Error>> {
        let spec = FrameSpec {
            destination: mac,
            flows: 1024,
            limit: Some(FRAMES / 2),
            ..FrameSpec::default()
        };
        let peer = Box::new(Traffic::new(Generator::new(&spec), sink));
        let device = E82576::new(Options {
            mac,
            peer,
            domain: domain.clone(),
            mode: Mode::Sync,
        });
        let memory = Memory::new(PORT_BYTES, Source::MemFd(PageSize::Base4K), Numa::Any)?;
        let space: Arc<dyn DmaDomain> = domain.clone();
        let mapping = Mapping::new(&memory, &space, Access::ReadWrite)?;
        let rx = DmaSlice::new(&mapping, 0, RING).ok_or("receive ring")?;
        let tx = DmaSlice::new(&mapping, RING_BYTES, RING).ok_or("transmit ring")?;
        let port = Self {
            device,
            rx,
            tx,
            buffers: mapping.iova().raw() + BUFFERS,
            next: 0,
            sent: 0,
        };
        port.start();
        Ok(port)
    }

    fn write(&self, offset: usize, value: u32) {
        self.device.bar_write(0, offset, value);
    }

    fn buffer(&self, index: u32) -> u64 {
        self.buffers + u64::from(index % RING) * 2048
    }

    fn start(&self) {
        self.device.config_write(4, &[6, 0]);
        self.write(0x0000, 1 << 6 | 1);
        for (block, ring) in [(0xC000, &self.rx), (0xE000, &self.tx)] {
            self.write(block, ring.iova().raw() as u32);
            self.write(block + 4, (ring.iova().raw() >> 32) as u32);
            self.write(block + 8, RING * 16);
            self.write(block + 0x28, 1 << 25);
            while self.device.bar_read(0, block + 0x28) & 1 << 25 == 0 {}
        }
        self.write(0xC00C, 2 | 1 << 25);
        self.write(0x0100, 1 << 1 | 1 << 15 | 1 << 26);
        self.write(0x0400, 1 << 1 | 1 << 3);
        (0..RING - 1).for_each(|index| self.arm(index));
        self.write(0xC018, RING - 1);
    }

    fn arm(&self, index: u32) {
        let [address, status] = self.rx.at(index);
        address.store(self.buffer(index), Relaxed);
        status.store(0, Release);
    }

    /// One burst from this port to `out`; frames moved.
    fn forward(&mut self, out: &mut Self) -> u32 {
        let mut moved = 0;
        while moved < BURST {
            let word = self.rx.at(self.next + moved)[1].load(Acquire);
            if word & 1 == 0 {
                break;
            }
            let len = word >> 32 & 0xffff;
            let [address, command] = out.tx.at(out.sent + moved);
            address.store(self.buffer(self.next + moved), Relaxed);
            let report = if moved == BURST - 1 { 1 << 27 } else { 0 };
            let flags = 3 << 20 | 1 << 24 | 1 << 25 | 1 << 29 | report;
            command.store(len | flags | len << 46, Release);
            moved += 1;
        }
        if moved > 0 {
            out.sent = (out.sent + moved) % RING;
            out.write(0xE018, out.sent);
            // Sent already: the device ran on this stack. The descriptor before the first is the ring's gap.
            (0..moved).for_each(|index| self.arm(self.next.wrapping_sub(1).wrapping_add(index)));
            self.next = (self.next + moved) % RING;
            self.write(0xC018, (self.next + RING - 1) % RING);
        }
        moved
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let domain = Arc::new(LocalDomain::new());
    let sink = Sink::new();
    let mut a = Port::new(&domain, &sink, [2, 0, 0, 0, 0, 1])?;
    let mut b = Port::new(&domain, &sink, [2, 0, 0, 0, 0, 2])?;
    let start = Instant::now();
    while a.forward(&mut b) + b.forward(&mut a) > 0 {}
    let seconds = start.elapsed().as_secs_f64();
    let misuses = [&a, &b].map(|port| port.device.model(|model| model.misuses().len()));
    let rate = sink.frames() as f64 / seconds / 1e6;
    println!(
        "{} frames in {seconds:.2} s: {rate:.2} Mpps, misuses {misuses:?}",
        sink.frames()
    );
    Ok(())
}
