//! Traffic without a second NIC: a source of frames and a counting sink.

use crate::peer::Peer;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Produces the frames that a port receives.
pub trait Source: Send + Debug {
    /// Replaces the contents of `frame` with the next frame; false at the end.
    fn next(&mut self, frame: &mut Vec<u8>) -> bool;
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        (**self).next(frame)
    }
}

/// A list of frames, once or over and over: replay.
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Vec<u8>>,
    at: usize,
    left: u64,
}

impl Frames {
    /// Each frame once.
    pub fn once(frames: Vec<Vec<u8>>) -> Self {
        let left = frames.len() as u64;
        Self { frames, at: 0, left }
    }

    /// Over and over, without end.
    pub fn looping(frames: Vec<Vec<u8>>) -> Self {
        Self {
            frames,
            at: 0,
            left: u64::MAX,
        }
    }

    /// Stops after `count` frames.
    pub fn limit(mut self, count: u64) -> Self {
        self.left = self.left.min(count);
        self
    }
}

impl Source for Frames {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(next) = self.frames.get(self.at).filter(|_| self.left > 0) else {
            return false;
        };
        frame.clear();
        frame.extend_from_slice(next);
        self.left -= 1;
        self.at = (self.at + 1) % self.frames.len();
        true
    }
}

/// Counts what a port sends; keeps the first frames for tests where asked to. Cheap to clone: a handle.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    frames: AtomicU64,
    bytes: AtomicU64,
    keep: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Sink {
    /// A sink that only counts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sink that also keeps the first `most` frames.
    pub fn keeping(most: usize) -> Self {
        Self(Arc::new(Counted {
            keep: most,
            ..Counted::default()
        }))
    }

    /// Frames taken so far.
    pub fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Their bytes, without FCS.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Takes the frames kept so far.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, frame: &[u8]) {
        self.0.frames.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        if self.0.keep > 0 {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < self.0.keep {
                kept.push(frame.to_vec());
            }
        }
    }
}

/// A cable end with a [`Source`] for what the port receives and a [`Sink`] for what it sends.
#[derive(Debug)]
pub struct Traffic {
    source: Option<Box<dyn Source>>,
    sink: Sink,
    patient: bool,
}

impl Traffic {
    /// Frames of `source`, which wait until the port has room: nothing is lost on the way in.
    pub fn new(source: impl Source + 'static, sink: &Sink) -> Self {
        Self {
            source: Some(Box::new(source)),
            sink: sink.clone(),
            patient: true,
        }
    }

    /// No frames; what the port sends is counted.
    pub fn silent(sink: &Sink) -> Self {
        Self {
            source: None,
            sink: sink.clone(),
            patient: true,
        }
    }

    /// Makes the frames arrive whether or not the port has room, as on a busy link.
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }
}

impl Peer for Traffic {
    fn transmit(&mut self, frame: &[u8]) {
        self.sink.put(frame);
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        self.source.as_mut().is_some_and(|source| source.next(frame))
    }

    fn patient(&self) -> bool {
        self.patient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_plays_once_or_loops() {
        let list = vec![vec![1; 60], vec![2; 60]];
        let mut frame = Vec::new();
        let mut once = Frames::once(list.clone());
        assert!(once.next(&mut frame) && once.next(&mut frame) && !once.next(&mut frame));
        let mut looped = Frames::looping(list).limit(5);
        assert_eq!(
            std::iter::from_fn(|| looped.next(&mut frame).then(|| frame[0])).sum::<u8>(),
            7
        );
        assert!(!Frames::looping(Vec::new()).next(&mut frame));
    }

    #[test]
    fn the_sink_counts_and_keeps_only_what_it_was_told() {
        let sink = Sink::keeping(1);
        let mut end = Traffic::silent(&sink);
        end.transmit(&[1; 60]);
        end.transmit(&[2; 64]);
        assert_eq!(
            (sink.frames(), sink.bytes(), sink.take()),
            (2, 124, vec![vec![1; 60]])
        );
        assert!(!end.receive(&mut Vec::new()));
    }
}
