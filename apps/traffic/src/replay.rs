//! Frames of a capture file, at their own pace or another.

use crate::error::{Result, TrafficError};
use crate::program::BLOCK;
use barline_sim::timed_frames_from_pcap;
use std::path::Path;
use std::sync::Arc;

/// A capture that is sent. Clones begin at its start.
#[derive(Clone, Debug)]
pub struct Replay {
    frames: Arc<[(u64, Vec<u8>)]>,
    /// How many times as fast as it was captured; none by the rate that was asked for.
    speed: Option<f64>,
    repeat: bool,
    at: usize,
    made: u64,
    begin: Option<u64>,
    /// Nanoseconds from the first frame of a round to that of the next.
    round: u64,
}

impl Replay {
    /// Reads a capture, classic pcap or pcapng.
    ///
    /// # Errors
    /// It cannot be read, or holds no frames.
    pub fn read(path: &Path, speed: Option<f64>, repeat: bool) -> Result<Self> {
        let frames = timed_frames_from_pcap(path).map_err(|error| TrafficError::wrong(error.to_string()))?;
        if frames.is_empty() {
            return Err(TrafficError::wrong(format!("{} holds no frames", path.display())));
        }
        let frames = frames
            .into_iter()
            .map(|(time, frame)| (time.as_nanos() as u64, frame));
        Ok(Self::new(frames.collect(), speed, repeat))
    }

    /// Frames with their times in nanoseconds.
    pub fn new(frames: Vec<(u64, Vec<u8>)>, speed: Option<f64>, repeat: bool) -> Self {
        let last = frames.last().map_or(0, |(time, _)| *time);
        // The gap behind the last frame is as long as the others are in the mean.
        let round = last + last / (frames.len().max(2) as u64 - 1);
        Self {
            frames: frames.into(),
            speed,
            repeat,
            at: 0,
            made: 0,
            begin: None,
            round,
        }
    }

    pub(crate) fn restart(&mut self) {
        (self.at, self.made, self.begin) = (0, 0, None);
    }

    /// The mean length of its frames, with FCS.
    pub fn mean(&self) -> f64 {
        let bytes: usize = self
            .frames
            .iter()
            .map(|(_, frame)| frame.len() + crate::size::FCS)
            .sum();
        bytes as f64 / self.frames.len().max(1) as f64
    }

    /// Bytes of its longest frame.
    pub fn longest(&self) -> usize {
        self.frames
            .iter()
            .map(|(_, frame)| frame.len())
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn room(&self) -> usize {
        self.longest().next_multiple_of(BLOCK)
    }

    pub(crate) fn next_len(&self) -> usize {
        self.frames.get(self.at).map_or(0, |(_, frame)| frame.len())
    }

    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Whether all has been sent.
    pub fn is_done(&self) -> bool {
        self.at >= self.frames.len()
    }

    /// How many frames are due at `now` by their own times, `most` at the most; none where a rate decides.
    pub(crate) fn due(&mut self, now: u64, most: usize) -> Option<usize> {
        let speed = self.speed?;
        let begin = *self.begin.get_or_insert(now);
        let gone = now.checked_sub(begin).map(|gone| (gone as f64 * speed) as u64);
        let due = self.frames[self.at..]
            .iter()
            .take(most)
            .take_while(|(time, _)| Some(*time) <= gone);
        Some(due.count())
    }

    /// How many are left in this round.
    pub(crate) fn left(&self) -> usize {
        self.frames.len() - self.at
    }

    pub(crate) fn write(&mut self, packet: &mut [u8]) -> usize {
        let Some((_, frame)) = self.frames.get(self.at) else {
            return 0;
        };
        if let Some(place) = packet.get_mut(..frame.len()) {
            place.copy_from_slice(frame);
        }
        let len = frame.len();
        self.at += 1;
        self.made += 1;
        if self.at >= self.frames.len() && self.repeat {
            self.at = 0;
            if let (Some(begin), Some(speed)) = (&mut self.begin, self.speed) {
                *begin += (self.round as f64 / speed) as u64;
            }
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(mut replay: Replay, n: usize) -> Vec<u64> {
        let (mut times, mut frame) = (Vec::new(), [0; 64]);
        for now in (0..100_000).step_by(10) {
            for _ in 0..replay.due(now, 8).unwrap() {
                assert_eq!(replay.write(&mut frame), 60);
                times.push(now);
            }
        }
        times.truncate(n);
        times
    }

    #[test]
    fn frames_come_at_their_times_scaled_and_over_and_over() {
        let frames = vec![(0, vec![1; 60]), (100, vec![2; 60]), (400, vec![3; 60])];
        let replay = |speed, repeat| Replay::new(frames.clone(), Some(speed), repeat);
        assert_eq!(due_times(replay(1.0, false), 9), [0, 100, 400]);
        assert_eq!(due_times(replay(2.0, false), 9), [0, 50, 200]);
        assert_eq!(due_times(replay(1.0, true), 5), [0, 100, 400, 600, 700]);
        let mut at_a_rate = Replay::new(frames.clone(), None, false);
        assert_eq!(
            (at_a_rate.due(5, 3), at_a_rate.left(), at_a_rate.is_done()),
            (None, 3, false)
        );
    }
}
