//! A bad cable, drawn from a seed.

use crate::peer::{Kick, Peer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Draws: xorshift64*. The same seed gives the same draws.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Draws that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn draw(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u32) -> u32 {
        ((u64::from(self.draw()) * u64::from(below)) >> 32) as u32
    }

    /// True so many times in a thousand.
    pub fn per_mille(&mut self, times: u32) -> bool {
        self.below(1000) < times
    }
}

/// What happens to frames on their way to a device, in times in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Lost.
    pub loss: u32,
    /// Twice.
    pub duplication: u32,
    /// Behind the next one.
    pub reorder: u32,
    /// With a byte changed, and so a wrong FCS.
    pub corruption: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// How often it happened. A handle: clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct Impairments(Arc<[AtomicU64; 4]>);

impl Impairments {
    fn add(&self, which: usize) {
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self, which: usize) -> u64 {
        self.0[which].load(Ordering::Relaxed)
    }

    /// Frames lost.
    pub fn lost(&self) -> u64 {
        self.get(0)
    }

    /// Frames that came twice.
    pub fn duplicated(&self) -> u64 {
        self.get(1)
    }

    /// Frames overtaken by the next one.
    pub fn reordered(&self) -> u64 {
        self.get(2)
    }

    /// Frames with a wrong FCS.
    pub fn corrupted(&self) -> u64 {
        self.get(3)
    }
}

/// A cable end whose frames towards the device are impaired.
#[derive(Debug)]
pub struct Impaired<P> {
    peer: P,
    how: Impairment,
    rng: Rng,
    counts: Impairments,
    /// Frames that come before the next one of the peer, and whether they are damaged.
    waiting: VecDeque<(Vec<u8>, bool)>,
    damaged: bool,
}

impl<P: Peer> Impaired<P> {
    /// `peer`, seen over a bad cable; and what the cable does.
    pub fn new(peer: P, how: Impairment) -> (Self, Impairments) {
        let counts = Impairments::default();
        let end = Self {
            peer,
            how,
            rng: Rng::new(how.seed),
            counts: counts.clone(),
            waiting: VecDeque::new(),
            damaged: false,
        };
        (end, counts)
    }

    /// Draws what becomes of a frame that the peer sent; false where it is lost.
    fn impair(&mut self, frame: &mut [u8]) -> bool {
        if self.rng.per_mille(self.how.loss) {
            self.counts.add(0);
            return false;
        }
        let damaged = !frame.is_empty() && self.rng.per_mille(self.how.corruption);
        if damaged {
            let at = self.rng.below(frame.len() as u32) as usize;
            frame[at] ^= 1 << self.rng.below(8);
            self.counts.add(3);
        }
        if self.rng.per_mille(self.how.duplication) {
            self.waiting.push_back((frame.to_vec(), damaged));
            self.counts.add(1);
        }
        self.damaged = damaged;
        true
    }
}

impl<P: Peer> Peer for Impaired<P> {
    fn transmit(&mut self, frame: &[u8]) {
        self.peer.transmit(frame);
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        loop {
            if let Some((next, damaged)) = self.waiting.pop_front() {
                (*frame, self.damaged) = (next, damaged);
                return true;
            }
            if !self.peer.receive(frame) {
                return false;
            }
            if !self.impair(frame) {
                continue;
            }
            if self.rng.per_mille(self.how.reorder) {
                let overtaken = (std::mem::take(frame), self.damaged);
                if self.peer.receive(frame) && self.impair(frame) {
                    self.counts.add(2);
                    self.waiting.push_back(overtaken);
                } else {
                    (*frame, self.damaged) = overtaken;
                }
            }
            return true;
        }
    }

    fn damaged(&self) -> bool {
        self.damaged
    }

    fn patient(&self) -> bool {
        self.peer.patient()
    }

    fn attach(&mut self, device: Weak<dyn Kick>) {
        self.peer.attach(device);
    }

    fn owed_kick(&mut self) -> Option<Arc<dyn Kick>> {
        self.peer.owed_kick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Frames, Sink, Traffic};

    const COUNT: u64 = 2000;

    fn run(how: Impairment) -> (Vec<(u64, bool)>, Impairments) {
        let frames = (0..COUNT).map(|n| n.to_be_bytes().repeat(8)).collect();
        let (mut end, counts) = Impaired::new(Traffic::new(Frames::once(frames), &Sink::new()), how);
        let (mut got, mut frame) = (Vec::new(), Vec::new());
        while end.receive(&mut frame) {
            let number = u64::from_be_bytes(*frame.first_chunk().unwrap());
            let whole = frame == number.to_be_bytes().repeat(8);
            assert!(whole || end.damaged());
            got.push((number, end.damaged()));
        }
        (got, counts)
    }

    #[test]
    fn what_arrives_is_what_was_sent_less_lost_plus_twice() {
        let how = Impairment {
            loss: 50,
            duplication: 40,
            reorder: 30,
            corruption: 20,
            seed: 7,
        };
        let (got, counts) = run(how);
        assert_eq!(got.len() as u64, COUNT - counts.lost() + counts.duplicated());
        let twice = got.iter().filter(|(_, damaged)| *damaged).count() as u64;
        assert!(twice >= counts.corrupted() && counts.corrupted() > 0);
        assert!(counts.reordered() > 0 && !got.is_sorted_by_key(|(number, _)| *number));
        assert_eq!(got, run(how).0, "the same seed");
        assert_ne!(got, run(Impairment { seed: 8, ..how }).0, "another seed");
    }

    #[test]
    fn a_good_cable_does_nothing() {
        let (got, counts) = run(Impairment::default());
        assert_eq!(got, (0..COUNT).map(|n| (n, false)).collect::<Vec<_>>());
        assert_eq!(
            [
                counts.lost(),
                counts.duplicated(),
                counts.reordered(),
                counts.corrupted()
            ],
            [0; 4]
        );
    }
}
