//! Watching the frames of a port: into a pcapng file ([`Watch::capture`]) or as text ([`Watch::trace`]).
//!
//! The queues copy frames into records and hand them to a thread that writes them, so that no disk holds up a poll loop.
//! When it cannot keep up, frames are left out and counted; none is ever held back.

mod pcapng;
mod queue;
mod recorder;
mod text;

use crate::Filter;
use crate::shell::Wrapper;
use barline::port::{PortConfig, PortError, RxQueue, TxQueue};
use barline::telemetry::{Cell, CounterSink};
use crossbeam::utils::CachePadded;
use queue::{Eye, Place, WatchRx, WatchTx};
use recorder::Recorder;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// Which frames, and how much of them.
#[derive(Clone, Debug)]
pub struct Select {
    /// Only frames that it keeps; all without one.
    pub filter: Option<Filter>,
    /// Only so many, then the port is left alone.
    pub limit: Option<u64>,
    /// Bytes of a frame at most.
    pub snap: usize,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            filter: None,
            limit: None,
            snap: 65_535,
        }
    }
}

/// The way of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Received by the port.
    #[default]
    In,
    /// Taken by the port to be sent.
    Out,
}

/// A frame as it was seen.
#[derive(Debug, Default)]
struct Record {
    way: Way,
    queue: u16,
    /// Since 1970.
    time: Duration,
    /// Bytes of the frame; of `data` there may be fewer.
    len: usize,
    data: Vec<u8>,
    /// The frame's descriptor in words, where that is wanted and there is one.
    descriptor: Option<String>,
}

/// Where records go.
trait Sink: Send + Debug {
    fn write(&mut self, record: &Record) -> io::Result<()>;
    /// Nothing more is waiting: what was written is to reach whoever reads.
    fn flush(&mut self) -> io::Result<()>;
}

/// What one queue saw.
#[derive(Debug, Default)]
struct Seen {
    frames: Cell,
    missed: Cell,
}

/// A wrapper that shows the frames of its port to somebody and changes nothing.
#[derive(Debug)]
pub struct Watch {
    what: String,
    select: Select,
    /// Descriptors too.
    describes: bool,
    sink: Option<Box<dyn Sink>>,
    recorder: Option<Recorder>,
    seen: Vec<Arc<CachePadded<Seen>>>,
}

impl Watch {
    /// Writes frames to a pcapng file. `port` is the interface's name in it; `what` is the file's, for errors.
    ///
    /// # Errors
    /// The file's.
    pub fn capture(
        what: &str,
        port: &str,
        file: impl Write + Send + 'static,
        select: Select,
    ) -> io::Result<Self> {
        let sink = pcapng::PcapNg::new(file, port, select.snap)?;
        Ok(Self::new(what, Box::new(sink), select))
    }

    /// Writes frames as text: a line of headers, one of the descriptor where the port has such, then their bytes.
    pub fn trace(port: &str, out: impl Write + Send + 'static, select: Select) -> Self {
        Self {
            describes: true,
            ..Self::new("the trace", Box::new(text::Text::new(out, port)), select)
        }
    }

    fn new(what: &str, sink: Box<dyn Sink>, select: Select) -> Self {
        Self {
            what: what.to_owned(),
            select,
            describes: false,
            sink: Some(sink),
            recorder: None,
            seen: Vec::new(),
        }
    }

    fn eye(&mut self, way: Way, queue: u16) -> Option<Eye> {
        let recorder = self.recorder.as_ref()?;
        let seen = Arc::<CachePadded<Seen>>::default();
        self.seen.push(seen.clone());
        let place = Place {
            way,
            queue,
            describes: self.describes,
        };
        Some(Eye::new(place, recorder.feed(), self.select.clone(), seen))
    }
}

impl Wrapper for Watch {
    fn starting(&mut self, _config: &PortConfig) -> Result<(), PortError> {
        self.seen.clear();
        if let Some(sink) = self.sink.take() {
            let recorder = Recorder::start(sink, self.select.limit)
                .map_err(|error| PortError::Config(format!("{} cannot be written: {error}", self.what)))?;
            self.recorder = Some(recorder);
        }
        Ok(())
    }

    fn rx(&mut self, index: u16, queue: Box<dyn RxQueue>) -> Box<dyn RxQueue> {
        match self.eye(Way::In, index) {
            Some(eye) => Box::new(WatchRx::new(queue, eye)),
            None => queue,
        }
    }

    fn tx(&mut self, index: u16, queue: Box<dyn TxQueue>) -> Box<dyn TxQueue> {
        match self.eye(Way::Out, index) {
            Some(eye) => Box::new(WatchTx::new(queue, eye)),
            None => queue,
        }
    }

    fn stopped(&mut self) -> Result<(), PortError> {
        let Some(recorder) = self.recorder.take() else {
            return Ok(());
        };
        let (sink, result) = recorder.end();
        self.sink = sink;
        result.map_err(|error| PortError::Failed(format!("{} could not be written: {error}", self.what)))
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        let sum = |of: fn(&Seen) -> &Cell| self.seen.iter().map(|seen| of(seen).get()).sum();
        out.counter("watch_frames", sum(|seen| &seen.frames));
        out.counter("watch_missed", sum(|seen| &seen.missed));
    }
}
