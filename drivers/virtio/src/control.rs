//! The control queue (5.1.6.5): one command at a time, waited for.

use crate::packed;
use crate::regs::{Features, control};
use crate::split::{self, Areas, NEXT, WRITE};
use barline::mem::{DmaSlice, Iova, Mapping};
use barline::mmio::{Bar, Doorbell};
use barline::port::PortError;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Positions of the ring: a command takes three.
pub const LEN: u32 = 16;
/// Longest data of a command: receive-side scaling with a table of 128 entries and a key of 40 bytes.
const DATA: usize = 512;
/// Where in the buffer the device's answer is: on a line of its own, its verdict first.
const ACK: usize = DATA;
/// Longest answer: a queue's statistics.
const ANSWER: usize = 128;
const BUFFER: usize = DATA + ANSWER;
/// A device on a busy host may take its time.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Ring {
    Split(split::Words),
    Packed(packed::Words),
}

/// The control queue of a started device.
#[derive(Debug)]
pub struct Control {
    ring: Ring,
    buffer: DmaSlice<AtomicU8>,
    at: Iova,
    doorbell: Option<Doorbell>,
    queue: u16,
    bar: Bar,
    /// Free-running: descriptors made available (packed), commands made available (split).
    next: u32,
    /// Where the command under way begins.
    begun: u32,
    /// Free-running: descriptors of a split ring's table that were used. A device that completes in order wants them in the
    /// table's order (2.7.5.1).
    place: u32,
    /// A command was not answered: the device may still write to the buffer.
    stuck: bool,
}

/// Bytes of memory for the ring and the buffer.
pub fn bytes(packed: bool) -> usize {
    ring_bytes(packed) + BUFFER.next_power_of_two()
}

fn ring_bytes(packed: bool) -> usize {
    if packed {
        packed::Words::bytes(LEN)
    } else {
        split::Words::bytes(LEN)
    }
}

impl Control {
    /// A queue from byte `at` of `memory` on; `None` where it does not fit.
    pub fn new(memory: &Arc<Mapping>, at: usize, features: Features, queue: u16, bar: &Bar) -> Option<Self> {
        let packed = features.contains(Features::RING_PACKED);
        let event_idx = features.contains(Features::EVENT_IDX);
        let ring = match packed {
            true => Ring::Packed(packed::Words::new(memory, at, LEN)?),
            false => Ring::Split(split::Words::new(memory, at, LEN, event_idx)?),
        };
        let buffer: DmaSlice<AtomicU8> =
            DmaSlice::new(memory, at + ring_bytes(packed), BUFFER.next_power_of_two() as u32)?;
        Some(Self {
            at: buffer.iova(),
            ring,
            buffer,
            doorbell: None,
            queue,
            bar: bar.clone(),
            next: 0,
            begun: 0,
            place: 0,
            stuck: false,
        })
    }

    /// What the device has to be told.
    pub fn areas(&self) -> Areas {
        match &self.ring {
            Ring::Split(words) => words.areas(),
            Ring::Packed(words) => words.areas(),
        }
    }

    /// How to notify it: known when the queue is enabled.
    pub fn connect(&mut self, doorbell: Doorbell) {
        self.doorbell = Some(doorbell);
    }

    /// Gives a command and waits for the answer.
    ///
    /// # Errors
    /// The device refuses, or does not answer in time.
    pub fn command(&mut self, command: [u8; 2], data: &[u8], what: &'static str) -> Result<(), PortError> {
        self.ask(command, data, 0, what).map(drop)
    }

    /// Likewise, a command whose answer has up to `len` bytes of its own. Where the device wrote fewer, zeros stand.
    ///
    /// # Errors
    /// As [`Control::command`].
    pub fn ask(
        &mut self,
        command: [u8; 2],
        data: &[u8],
        len: usize,
        what: &'static str,
    ) -> Result<Vec<u8>, PortError> {
        if self.stuck || 2 + data.len() > DATA || 1 + len > ANSWER {
            return Err(PortError::Unsupported(what));
        }
        let byte = |at: usize| self.buffer.at(at as u32);
        for (at, value) in command.iter().chain(data).enumerate() {
            byte(at).store(*value, Relaxed);
        }
        (0..=len).for_each(|at| byte(ACK + at).store(0, Relaxed));
        byte(ACK).store(!control::OK, Relaxed);
        self.post(data.len(), 1 + len);
        if !self.answered() {
            self.stuck = true;
            return Err(PortError::State("not answering on its control queue"));
        }
        let answer = (0..=len).map(|at| self.buffer.at((ACK + at) as u32).load(Relaxed));
        let mut answer: Vec<u8> = answer.collect();
        match answer.remove(0) {
            control::OK => Ok(answer),
            _ => Err(PortError::Unsupported(what)),
        }
    }

    /// Header and data for the device to read, and room for its answer.
    fn post(&mut self, data: usize, answer: usize) {
        let pieces = [(0, 2, 0), (2, data, 0), (ACK, answer, WRITE)];
        let pieces: Vec<(usize, usize, u64)> = pieces.into_iter().filter(|(_, len, _)| *len > 0).collect();
        let last = pieces.len() - 1;
        let from = self.next;
        self.begun = from;
        // Whether the device wants to be told is of no interest: there is one command at a time.
        match &mut self.ring {
            Ring::Split(words) => {
                let place = |i: usize| (self.place.wrapping_add(i as u32) % LEN) as u16;
                for (i, (offset, len, flags)) in pieces.iter().enumerate() {
                    let next = if i < last {
                        NEXT | u64::from(place(i + 1)) << 16
                    } else {
                        0
                    };
                    let rest = *len as u64 | (flags | next) << 32;
                    words.post(place(i), self.at.offset(*offset as u64), rest);
                }
                words.renumber(from, place(0));
                self.place = self.place.wrapping_add(pieces.len() as u32);
                self.next = from.wrapping_add(1);
                words.publish(from, self.next);
            }
            Ring::Packed(words) => {
                for (i, (offset, len, flags)) in pieces.iter().enumerate() {
                    let next = if i < last { NEXT } else { 0 };
                    let rest = *len as u64 | (flags | next) << 48;
                    words.post(
                        from.wrapping_add(i as u32),
                        0,
                        self.at.offset(*offset as u64),
                        rest,
                    );
                }
                self.next = from.wrapping_add(pieces.len() as u32);
                words.publish(from, self.next);
            }
        }
        if let Some(doorbell) = &mut self.doorbell {
            doorbell.ring(self.queue.into());
        }
    }

    fn answered(&self) -> bool {
        let end = self.bar.now() + PATIENCE;
        let mut pause = Duration::from_micros(2);
        loop {
            let late = self.bar.now() >= end;
            let done = match &self.ring {
                Ring::Split(words) => words.used() == self.next as u16,
                // The device writes over the first descriptor of those that it has used (2.8.6).
                Ring::Packed(words) => words.used(self.begun).is_some(),
            };
            if done || late {
                return done;
            }
            self.bar.pause(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }
}
