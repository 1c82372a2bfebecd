//! The thread that writes.

use super::{Record, Sink};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Frames that may wait to be written.
const DEPTH: usize = 4096;

/// What the queues hand records to. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    full: Sender<Record>,
    empty: Receiver<Record>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Somebody writes.
    open: AtomicBool,
    /// Frames still wanted.
    left: AtomicU64,
    limited: bool,
}

impl Feed {
    /// Whether frames are wanted at all.
    pub(super) fn is_open(&self) -> bool {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Whether one more frame is within the limit; it counts from then on.
    pub(super) fn claim(&self) -> bool {
        if !self.state.limited {
            return true;
        }
        let left = &self.state.left;
        let got = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if got.is_err() {
            self.state.open.store(false, Ordering::Relaxed);
        }
        got.is_ok()
    }

    /// A record to fill: a used one when there is one.
    pub(super) fn blank(&self) -> Record {
        self.empty.try_recv().unwrap_or_default()
    }

    /// Whether there was room for it.
    pub(super) fn give(&self, record: Record) -> bool {
        self.full.try_send(record).is_ok()
    }
}

/// How a thread ended: its sink, unless it failed.
type End = (Option<Box<dyn Sink>>, io::Result<()>);

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Recorder {
    feed: Feed,
    quit: Option<Sender<()>>,
    thread: Option<JoinHandle<End>>,
}

impl Recorder {
    pub(super) fn start(sink: Box<dyn Sink>, limit: Option<u64>) -> io::Result<Self> {
        let (full, records) = bounded(DEPTH);
        let (back, empty) = bounded(DEPTH);
        let (quit, ended) = bounded(1);
        let state = Arc::new(State {
            open: AtomicBool::new(true),
            left: AtomicU64::new(limit.unwrap_or(0)),
            limited: limit.is_some(),
        });
        let shared = state.clone();
        let thread = thread::Builder::new()
            .name("barline-watch".into())
            .spawn(move || {
                let end = write(sink, &records, &back, &ended);
                shared.open.store(false, Ordering::Relaxed);
                end
            })?;
        Ok(Self {
            feed: Feed { full, empty, state },
            quit: Some(quit),
            thread: Some(thread),
        })
    }

    /// The way to the thread.
    pub(super) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Lets everything be written that was handed over, and ends the thread. Queues may live on: nobody listens to them.
    pub(super) fn end(mut self) -> End {
        self.join()
    }

    fn join(&mut self) -> End {
        self.feed.state.open.store(false, Ordering::Relaxed);
        drop(self.quit.take());
        let died = || io::Error::other("the writing thread died");
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(end)) => end,
            Some(Err(_)) => (None, Err(died())),
            None => (None, Ok(())),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn write(
    mut sink: Box<dyn Sink>,
    records: &Receiver<Record>,
    back: &Sender<Record>,
    ended: &Receiver<()>,
) -> End {
    let result = serve(sink.as_mut(), records, back, ended);
    match result {
        Ok(()) => (Some(sink), Ok(())),
        Err(error) => (None, Err(error)),
    }
}

fn serve(
    sink: &mut dyn Sink,
    records: &Receiver<Record>,
    back: &Sender<Record>,
    ended: &Receiver<()>,
) -> io::Result<()> {
    loop {
        for record in records.try_iter() {
            sink.write(&record)?;
            let _ = back.try_send(record);
        }
        sink.flush()?;
        crossbeam::select! {
            recv(records) -> record => match record {
                Ok(record) => sink.write(&record)?,
                Err(_) => return sink.flush(),
            },
            recv(ended) -> _ => {
                records.try_iter().try_for_each(|record| sink.write(&record))?;
                return sink.flush();
            }
        }
    }
}
