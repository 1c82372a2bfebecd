//! Ports that go away and come back while the others forward on.

use crate::Failure;
use crate::forward::{Lane, Mail};
use crate::run::Forwarder;
use crate::shape;
use barline::port::{PortEvent, Queues};
use serde::Serialize;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What happened to a port, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// Index of the port.
    pub port: usize,
    /// The port as it was named.
    pub name: String,
    /// `unplug-request`, `gone`, `error`, `reset`, `taken`, `stalled`: the port was stopped and its device closed. `suspend`: it was
    /// stopped. `back`, and `resume` after a suspend: it forwards again.
    /// `peer-connected`, `peer-gone`: it runs on.
    pub event: &'static str,
    /// Milliseconds that it took.
    pub milliseconds: f64,
    /// Why it happened and what to do about it, where the port knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What did not go well, if anything.
    pub error: Option<String>,
}

/// What the program calls the end of a port's run: in a line of its own, as the port's state, and in words.
pub(crate) fn names(event: PortEvent) -> (&'static str, &'static str) {
    match event {
        PortEvent::UnplugRequested => ("unplug-request", "released"),
        PortEvent::Gone => ("gone", "gone"),
        PortEvent::Error => ("error", "failed"),
        PortEvent::Reset => ("reset", "reset"),
        PortEvent::Taken => ("taken", "taken"),
        PortEvent::Stalled => ("stalled", "stalled"),
        PortEvent::Suspend => ("suspend", "asleep"),
        PortEvent::Resume => ("resume", "asleep"),
        PortEvent::PeerConnected => ("peer-connected", "running"),
        PortEvent::PeerGone => ("peer-gone", "running"),
        _ => ("stopped", "stopped"),
    }
}

/// A port whose device is there again.
const BACK: &str = "back";

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = match self.event {
            "peer-connected" => Some("a peer has connected"),
            "peer-gone" => Some("its peer is gone; waits for the next one"),
            _ => None,
        };
        if let Some(what) = peer {
            return write!(f, "port {} ({}): {what}", self.port, self.name);
        }
        let what = match self.event {
            "unplug-request" => "the host wants the device back; closed",
            "gone" => "the device does not answer any more; closed",
            "error" => "an uncorrectable error; closed",
            "reset" => "somebody has reset the device; closed",
            "taken" => "another program has taken it over; closed",
            "stalled" => "a queue of the device stands still; closed",
            "suspend" => "the machine goes to sleep; stopped",
            "resume" => "the machine is awake; forwards again",
            BACK => "the device is back; forwards again",
            other => other,
        };
        let Self {
            port,
            name,
            milliseconds,
            reason,
            error,
            ..
        } = self;
        write!(f, "port {port} ({name}): {what} after {milliseconds:.1} ms")?;
        reason.as_ref().map_or(Ok(()), |reason| write!(f, "; {reason}"))?;
        error.as_ref().map_or(Ok(()), |error| write!(f, "; {error}"))
    }
}

/// Longest wait for the workers to give queues back: they look between two bursts.
const RECALL: Duration = Duration::from_secs(1);
/// Between two looks at devices that nobody told anything of.
const PATROL: Duration = Duration::from_millis(100);
/// Events of one port at a time.
const MOST_EVENTS: usize = 8;
/// Between two looks whether a device is back.
const RETRY: Duration = Duration::from_millis(500);

impl Forwarder {
    /// Waits for something to happen to a device, at most `limit`, and acts on it: stops the port and closes its device,
    /// while the others forward on; brings a port back whose device is there again, if the settings say so.
    pub fn attend(&mut self, limit: Duration) -> Vec<Incident> {
        let told = self.watch.wait(limit).unwrap_or_else(|_| {
            sleep(limit);
            true
        });
        let now = Instant::now();
        if !told && now < self.patrol {
            return Vec::new();
        }
        self.patrol = now + PATROL;
        let mut incidents = Vec::new();
        for index in 0..self.members.len() {
            if self.members[index].opened.is_none() {
                incidents.extend(self.reattach(index, now));
            }
            for _ in 0..MOST_EVENTS {
                let opened = self.members[index].opened.as_mut();
                match opened.and_then(|opened| opened.port.event()) {
                    Some(PortEvent::Suspend) => incidents.push(self.pause(index)),
                    Some(PortEvent::Resume) => incidents.push(self.go_on(index)),
                    // Nothing of the device is touched after that, except to close it.
                    Some(event) if event.ends_run() => incidents.push(self.detach(index, event)),
                    Some(event) => incidents.push(self.incident(index, names(event).0, now, None)),
                    None => break,
                }
            }
        }
        incidents
    }

    /// Takes the port's queues from the workers, and closes the device. Nothing of the device in sysfs is touched: the
    /// host may hold its lock.
    fn detach(&mut self, index: usize, event: PortEvent) -> Incident {
        let begin = Instant::now();
        let opened = self.members[index].opened.as_ref();
        let reason = opened.and_then(|opened| opened.port.reason());
        let error = self.halt(index, event);
        self.close(index);
        Incident {
            reason,
            ..self.incident(index, names(event).0, begin, error)
        }
    }

    /// Stops the port and drops its queues; its device stays open.
    fn halt(&mut self, index: usize, event: PortEvent) -> Option<String> {
        let member = &mut self.members[index];
        let mut error = None;
        if let Some(opened) = &mut member.opened {
            // Its queues learn of it: they take nothing and give nothing from now on.
            let stopped = opened.port.stop(Queues::default());
            // A device that does not answer is no news here.
            error = stopped
                .err()
                .filter(|_| event != PortEvent::Gone)
                .map(|error| error.to_string());
        }
        if let Err(failure) = self.recall(index) {
            error = Some(failure.to_string());
        }
        let member = &mut self.members[index];
        member.remember(event);
        // Their doorbells keep the device's registers mapped, and with them the device open.
        drop(member.take_queues());
        error
    }

    fn close(&mut self, index: usize) {
        let member = &mut self.members[index];
        if let Some(opened) = member.opened.take() {
            opened
                .port
                .event_fds()
                .into_iter()
                .for_each(|fd| self.watch.remove(fd));
            self.opener.close(opened);
        }
        member.retry = Instant::now() + RETRY;
    }

    /// The machine is going to sleep, and waits for our word.
    fn pause(&mut self, index: usize) -> Incident {
        let begin = Instant::now();
        let halted = self.halt(index, PortEvent::Suspend);
        let error = halted.or(self.acknowledge(index, PortEvent::Suspend));
        self.incident(index, names(PortEvent::Suspend).0, begin, error)
    }

    /// The machine is awake. If it did not wait for our word before, the port is still to be stopped.
    fn go_on(&mut self, index: usize) -> Incident {
        let begin = Instant::now();
        let mut error = self.acknowledge(index, PortEvent::Resume);
        if self.members[index].is_running() {
            error = error.or(self.halt(index, PortEvent::Resume));
        }
        if let Err(failure) = self.restart(index) {
            error = Some(failure.to_string());
            self.close(index);
        }
        self.incident(index, names(PortEvent::Resume).0, begin, error)
    }

    fn acknowledge(&mut self, index: usize, event: PortEvent) -> Option<String> {
        let opened = self.members[index].opened.as_mut()?;
        opened
            .port
            .acknowledge(event)
            .err()
            .map(|error| error.to_string())
    }

    fn restart(&mut self, index: usize) -> Result<(), Failure> {
        let config = shape::config(&self.settings, &self.pool);
        self.members[index].start(&config)?;
        self.send_out()
    }

    /// Gets all lanes of a stopped port back from the workers.
    fn recall(&mut self, index: usize) -> Result<(), Failure> {
        let end = Instant::now() + RECALL;
        for core in &self.cores {
            // A full mailbox is one that the worker is about to empty.
            while core.tell(Mail::Release).is_err() && Instant::now() < end {
                sleep(Duration::from_micros(100));
            }
        }
        while !self.members[index].is_home() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(lane) = self.returns.recv_timeout(left) else {
                return Err(Failure::run(format!(
                    "a worker has not given its queues back in {RECALL:?}; the device stays open until it does"
                )));
            };
            self.take_home(lane);
        }
        Ok(())
    }

    pub(crate) fn take_home(&mut self, lane: Lane) {
        let Lane {
            rx,
            tx,
            from,
            to,
            queue,
            ..
        } = lane;
        // A lane that comes late finds the port without places: its queues go with it.
        if let Some(place) = self.members[from].rx.get_mut(queue) {
            *place = Some(rx);
        }
        if let Some(place) = self.members[to].tx.get_mut(queue) {
            *place = Some(tx);
        }
    }

    /// Brings a port back, when its device is there again.
    fn reattach(&mut self, index: usize, now: Instant) -> Option<Incident> {
        if !self.settings.replug || now < self.members[index].retry {
            return None;
        }
        // It may stay away for long: only the return is news.
        let done = self.reopen(index);
        self.members[index].retry = Instant::now() + RETRY;
        done.ok().map(|()| self.incident(index, BACK, now, None))
    }

    fn reopen(&mut self, index: usize) -> Result<(), Failure> {
        let member = &mut self.members[index];
        let opened = self.opener.open(&member.spec)?;
        let config = shape::config(&self.settings, &self.pool);
        member.opened = Some(opened);
        if let Err(failure) = member.start(&config) {
            if let Some(opened) = member.opened.take() {
                self.opener.close(opened);
            }
            return Err(failure);
        }
        self.watch_events(index)?;
        self.send_out()
    }

    fn incident(&self, port: usize, event: &'static str, begin: Instant, error: Option<String>) -> Incident {
        Incident {
            port,
            name: self.members[port].spec.to_string(),
            event,
            milliseconds: begin.elapsed().as_secs_f64() * 1e3,
            reason: None,
            error,
        }
    }
}
