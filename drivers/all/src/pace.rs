//! Frames at a pace, and when they went past.

use barline_sim::{Kick, Peer, Source, Traffic};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A source that gives a frame only when the next one is due. What could not be taken in time comes at once: the rate
/// holds in the long run.
#[derive(Debug)]
pub(crate) struct Paced {
    source: Box<dyn Source>,
    gap: Duration,
    due: Option<Instant>,
}

impl Paced {
    /// `rate` frames a second from the first look on; none for 0.
    pub fn new(source: Box<dyn Source>, rate: f64) -> Option<Self> {
        let gap = Duration::try_from_secs_f64(1.0 / rate).ok()?;
        Some(Self {
            source,
            gap,
            due: None,
        })
    }
}

impl Source for Paced {
    fn next(&mut self, frame: &mut Vec<u8>) -> bool {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + self.gap);
        if now < due || !self.source.next(frame) {
            return false;
        }
        self.due = due.checked_add(self.gap);
        true
    }
}

/// When frames came to a simulated port and left it. A handle; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Times(Arc<Mutex<Stamps>>);

#[derive(Debug, Default)]
struct Stamps {
    received: Vec<Instant>,
    sent: Vec<Instant>,
}

/// The first so many are kept: enough for a measurement, not enough to fill the memory.
const MOST: usize = 1 << 16;

impl Times {
    fn stamps(&self) -> MutexGuard<'_, Stamps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When each of the first frames reached the port.
    pub fn received(&self) -> Vec<Instant> {
        self.stamps().received.clone()
    }

    /// When each of the first frames left it.
    pub fn sent(&self) -> Vec<Instant> {
        self.stamps().sent.clone()
    }
}

fn note(stamps: &mut Vec<Instant>) {
    if stamps.len() < MOST {
        stamps.push(Instant::now());
    }
}

/// A cable end that notes when frames pass.
#[derive(Debug)]
pub(crate) struct Clocked {
    traffic: Traffic,
    times: Times,
}

impl Clocked {
    pub fn new(traffic: Traffic, times: &Times) -> Self {
        Self {
            traffic,
            times: times.clone(),
        }
    }
}

impl Peer for Clocked {
    fn transmit(&mut self, frame: &[u8]) {
        note(&mut self.times.stamps().sent);
        self.traffic.transmit(frame);
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        let came = self.traffic.receive(frame);
        if came {
            note(&mut self.times.stamps().received);
        }
        came
    }

    fn patient(&self) -> bool {
        self.traffic.patient()
    }

    fn attach(&mut self, device: Weak<dyn Kick>) {
        self.traffic.attach(device);
    }

    fn owed_kick(&mut self) -> Option<Arc<dyn Kick>> {
        self.traffic.owed_kick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barline_sim::{FrameSpec, Frames, Generator};

    #[test]
    fn no_frame_comes_before_its_time_and_none_is_forgotten() {
        let source = Box::new(Frames::once(vec![vec![1; 60], vec![2; 60]]));
        let mut paced = Paced::new(source, 1000.0).unwrap();
        let (begin, mut frame, mut early) = (Instant::now(), Vec::new(), 0);
        while !paced.next(&mut frame) {
            early += 1;
        }
        assert!(early > 0 && begin.elapsed() >= Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        assert!(paced.next(&mut frame), "it is overdue");
        assert_eq!(frame, [2; 60]);
        assert!(!paced.next(&mut frame), "the end");
    }

    #[test]
    fn a_rate_of_nothing_has_no_source() {
        let generator = || Box::new(Generator::new(&FrameSpec::default()));
        assert!(Paced::new(generator(), 0.0).is_none());
        assert!(Paced::new(generator(), 1e-300).is_none(), "not in this universe");
    }
}
