use super::{CoreId, StopToken};
use std::any::Any;
use std::fmt;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

/// Why a worker could not start, or gives nothing back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The kernel made no thread.
    #[error("worker {name}: the system gives no thread: {source}; see: ulimit -u")]
    Spawn {
        /// The worker's name.
        name: String,
        /// The system's word.
        source: io::Error,
    },
    /// The core was there when the list was read and is not any more.
    #[error("worker {name} cannot run on core {core} any more; see: cat /sys/devices/system/cpu/online")]
    Pin {
        /// The worker's name.
        name: String,
        /// The core.
        core: CoreId,
    },
    /// It panicked: what it owned went with it.
    #[error("worker {name} failed: {message}")]
    Panicked {
        /// The worker's name.
        name: String,
        /// What the panic said.
        message: String,
    },
}

/// A thread that runs one closure, on one core if that is wanted, until it is told to stop.
///
/// What the closure returns (a poll loop's queues) comes back from [`Worker::join`]. Dropping a worker stops it and
/// waits for it.
pub struct Worker<R> {
    name: String,
    core: Option<CoreId>,
    stop: StopToken,
    /// Until it is joined; `None` comes out of one that could not be pinned.
    thread: Option<JoinHandle<Option<R>>>,
}

impl<R: Send + 'static> Worker<R> {
    /// Starts a thread called `name` and, with a core, pins it before `run` begins. The caller's own affinity stays
    /// as it is.
    ///
    /// # Errors
    /// [`WorkerError::Spawn`], [`WorkerError::Pin`]; `run` was dropped then, without being called.
    pub fn spawn(
        core: Option<CoreId>,
        name: &str,
        run: impl FnOnce(&StopToken) -> R + Send + 'static,
    ) -> Result<Self, WorkerError> {
        Self::spawn_with(StopToken::default(), core, name, run)
    }

    /// The same with a token that was made before: one that has a [`crate::worker::Mailbox`], say.
    ///
    /// # Errors
    /// As [`Worker::spawn`].
    pub fn spawn_with(
        stop: StopToken,
        core: Option<CoreId>,
        name: &str,
        run: impl FnOnce(&StopToken) -> R + Send + 'static,
    ) -> Result<Self, WorkerError> {
        // A thread's name cannot hold a NUL byte: the standard library panics at one.
        let name = name.replace('\0', "");
        let (tell, told) = sync_channel(1);
        let token = stop.clone();
        let body = move || {
            let pinned = core.is_none_or(CoreId::pin_this_thread);
            let _ = tell.send(pinned); // the spawner waits for it
            pinned.then(|| run(&token))
        };
        let spawned = thread::Builder::new().name(name.clone()).spawn(body);
        let thread = spawned.map_err(|source| WorkerError::Spawn {
            name: name.clone(),
            source,
        })?;
        let worker = Self {
            name,
            core,
            stop,
            thread: Some(thread),
        };
        match (told.recv(), core) {
            (Ok(false), Some(core)) => Err(WorkerError::Pin {
                name: worker.name.clone(),
                core,
            }),
            _ => Ok(worker),
        }
    }
}

impl<R> Worker<R> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The core it is pinned to.
    pub fn core(&self) -> Option<CoreId> {
        self.core
    }

    /// Asks it to end; does not wait. Of several workers, ask all before joining the first.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Whether it has ended, by itself or asked to.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it to end and takes what its closure returned.
    ///
    /// # Errors
    /// [`WorkerError::Panicked`] with what the panic said.
    pub fn join(mut self) -> Result<R, WorkerError> {
        let failed = |message: String| WorkerError::Panicked {
            name: self.name.clone(),
            message,
        };
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Some(value))) => Ok(value),
            Some(Err(panic)) => Err(failed(said(panic.as_ref()))),
            Some(Ok(None)) | None => Err(failed("it did not run".to_owned())),
        }
    }
}

impl<R> Drop for Worker<R> {
    fn drop(&mut self) {
        self.stop();
        // A worker that owns its own handle cannot wait for itself.
        let other = |thread: &JoinHandle<_>| thread.thread().id() != thread::current().id();
        if let Some(thread) = self.thread.take().filter(other) {
            // What it returned, or the panic that the hook has printed, is of no interest to who drops it.
            let _ = thread.join();
        }
    }
}

impl<R> fmt::Debug for Worker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({}, core {:?})", self.name, self.core)
    }
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked without a message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Cores;
    use super::*;
    use std::sync::mpsc::channel;

    fn until_stopped(stop: &StopToken) -> u64 {
        let mut turns = 0;
        while !stop.is_stopped() {
            turns += 1;
            thread::yield_now();
        }
        turns
    }

    #[test]
    fn a_worker_runs_until_it_is_stopped_and_gives_its_value_back() {
        let worker = Worker::spawn(None, "one", |stop| vec![until_stopped(stop)]).unwrap();
        assert!(!worker.is_finished());
        worker.stop();
        assert_eq!(worker.join().unwrap().len(), 1);
    }

    #[test]
    fn a_dropped_worker_is_stopped_and_waited_for() {
        let (tell, told) = channel();
        let worker = Worker::spawn(None, "two", move |stop| {
            until_stopped(stop);
            tell.send(()).unwrap();
        });
        drop(worker.unwrap());
        told.try_recv().unwrap();
    }

    #[test]
    fn a_panic_is_an_error() {
        let worker = Worker::<()>::spawn(None, "thr\0ee", |_| panic!("no {}", "way")).unwrap();
        let error = worker.join().unwrap_err();
        assert_eq!(error.to_string(), "worker three failed: no way");
    }

    #[test]
    fn a_worker_is_pinned_and_its_maker_is_not() {
        let before = Cores::read().unwrap();
        let last = before.all().pop();
        let worker = Worker::spawn(last, "four", |_| Cores::read().unwrap().all()).unwrap();
        assert_eq!(worker.core(), last);
        assert_eq!(worker.join().unwrap(), Vec::from_iter(last));
        assert_eq!(Cores::read().unwrap(), before);
    }
}
