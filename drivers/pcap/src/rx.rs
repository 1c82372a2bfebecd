use crate::port::{Pace, Shared};
use crate::read::{Capture, Damage, Record};
use barline::pool::{Batch, PoolCache};
use barline::port::{FrameSource, Run};
use barline::telemetry::RxTally;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A receive queue: the frames of a capture file, in order.
#[derive(Debug)]
pub struct PcapRx {
    source: Option<Source>,
    shared: Arc<Shared>,
}

/// A file, and how it is played.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    /// The same open file that `capture` reads.
    pub file: File,
    pub capture: Capture<File>,
    pub repeat: bool,
    pub pace: Pace,
    /// The next frame, where one is read and not due.
    pub next: Option<Record>,
    pub frame: Vec<u8>,
    /// The first stamp of this round, and when it was played.
    pub first: Option<(Duration, Instant)>,
    /// Frames of this round.
    pub frames: u64,
}

/// Shortest frame: an Ethernet header.
const LEAST: usize = 14;

impl Source {
    pub fn new(path: PathBuf, file: File, capture: Capture<File>, repeat: bool, pace: Pace) -> Self {
        Self {
            path,
            file,
            capture,
            repeat,
            pace,
            next: None,
            frame: Vec::new(),
            first: None,
            frames: 0,
        }
    }

    /// Makes sure that there is a next frame. False at the end.
    fn look(&mut self) -> Result<bool, Damage> {
        while self.next.is_none() {
            self.next = self.capture.next(&mut self.frame)?;
            if self.next.is_some() {
                self.frames += 1;
            } else if !self.repeat || self.frames == 0 {
                return Ok(false);
            } else {
                self.rewind()?;
            }
        }
        Ok(true)
    }

    fn rewind(&mut self) -> Result<(), Damage> {
        self.file.seek(SeekFrom::Start(0)).map_err(Damage::Io)?;
        self.capture = Capture::new(self.file.try_clone().map_err(Damage::Io)?)?;
        (self.frames, self.first) = (0, None);
        Ok(())
    }

    /// Whether the next frame's time has come.
    fn is_due(&mut self) -> bool {
        let stamp = self.next.and_then(|record| record.time);
        let Some(stamp) = stamp.filter(|_| self.pace == Pace::Original) else {
            return true;
        };
        let (first, begin) = *self.first.get_or_insert_with(|| (stamp, Instant::now()));
        // Stamps may go backwards: such a frame is due at once.
        begin.elapsed() >= stamp.saturating_sub(first)
    }
}

impl PcapRx {
    pub(crate) fn new(source: Option<Source>, shared: &Arc<Shared>) -> Self {
        Self {
            source,
            shared: shared.clone(),
        }
    }

    /// The source's end, of one kind or another.
    fn end(&mut self, damage: Option<Damage>, got: &mut RxTally) {
        if let (Some(damage), Some(source)) = (damage, &self.source) {
            got.errors += 1;
            tracing::warn!(
                file = %source.path.display(), frames = source.frames, %damage,
                "the rest of a capture file cannot be read"
            );
        }
        self.source = None;
        self.shared.dry.store(true, Ordering::Relaxed);
    }
}

impl FrameSource for PcapRx {
    fn run(&self) -> &Run {
        &self.shared.run
    }

    fn fill(&mut self, cache: &mut PoolCache, out: &mut Batch, got: &mut RxTally) {
        let limit = self.shared.run.max_frame();
        let most = limit.min(cache.pool().data_room());
        while out.room() > 0 {
            let Some(source) = &mut self.source else { return };
            match source.look() {
                Ok(true) => {}
                Ok(false) => return self.end(None, got),
                Err(damage) => return self.end(Some(damage), got),
            }
            if !source.is_due() {
                return;
            }
            let len = source.frame.len();
            let whole = source.next.is_some_and(|record| record.original == len);
            let ethernet = source.next.is_some_and(|record| record.ethernet);
            if !ethernet || !whole || !(LEAST..=most).contains(&len) {
                got.lengths += u64::from(ethernet);
                got.errors += u64::from(!ethernet);
                source.next = None;
                continue;
            }
            let Some(mut packet) = cache.alloc() else {
                got.short = true;
                return;
            };
            packet.set(&source.frame);
            source.next = None;
            got.packets += 1;
            got.bytes += len as u64;
            out.extend([packet]);
        }
    }
}
