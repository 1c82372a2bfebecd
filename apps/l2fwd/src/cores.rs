//! Workers and the messages between them and the thread that configures.

use crate::forward::{self, Lane, Mail};
use crate::report::CoreReport;
use crate::{Failure, Settings};
use barline::pool::Pool;
use barline::telemetry::IdleStats;
use barline::wait::{Idle, IdlePolicy};
use barline::worker::{CoreId, Mailbox, StopToken, Worker};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// A worker, its mailbox, and what it does when there is nothing to do.
#[derive(Debug)]
pub(crate) struct Core {
    pub worker: Worker<Vec<Lane>>,
    mailbox: Mailbox<Mail>,
    idle: Arc<CachePadded<IdleStats>>,
}

impl Core {
    /// Starts one without lanes, with room for `lanes` messages; what it gives back before its end goes to `home`.
    pub fn spawn(
        name: &str,
        core: Option<CoreId>,
        policy: IdlePolicy,
        lanes: usize,
        (pool, settings, home): (&Pool, &Settings, &Sender<Lane>),
    ) -> Result<Self, Failure> {
        let (pool, burst, stop, home) = (pool.clone(), settings.burst, StopToken::default(), home.clone());
        let (mailbox, inbox) = Mailbox::new(lanes, &stop);
        let idle = Idle::new(policy, stop.alarm())
            .map_err(|error| Failure::run(format!("no worker can sleep: {error}; see: ulimit -n")))?;
        let stats = idle.stats().clone();
        let run = move |stop: &_| forward::forward(stop, idle, &inbox, &home, &pool, burst);
        let worker = Worker::spawn_with(stop, core, name, run)?;
        Ok(Self {
            worker,
            mailbox,
            idle: stats,
        })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The message: the worker has not taken the ones before.
    pub fn tell(&self, mail: Mail) -> Result<(), Mail> {
        self.mailbox.send(mail)
    }

    pub fn report(&self, seconds: f64) -> CoreReport {
        CoreReport::new(self.worker.core(), &self.idle, seconds)
    }
}
