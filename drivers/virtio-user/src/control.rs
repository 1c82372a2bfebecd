//! The control thread of a port: meets back ends, one after the other, and gives the queues rings for each.

use crate::back::{BackEnd, News, Parted, Piece};
use crate::error::Refusal;
use crate::events::Shared;
use crate::guard::wait;
use crate::kernel::Kernel;
use crate::place::Place;
use crate::rings::{Ground, Heeded, Rings, RxEnd, TxEnd};
use crate::session::Session;
use crate::socket::{Listener, reach};
use crate::{Settings, guard};
use barline::mem::SharedDomain;
use barline::ring::completion::Health;
use barline::wait::EventFd;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Between two attempts, and between two looks at the rings' health.
const RETRY: Duration = Duration::from_millis(100);

/// Between a back end's hanging up and the first use of its buffers for something else. The kernel closes the sockets of a process
/// that has died after its memory is gone; but one that lives may hang up first and stop its workers then, as DPDK's vhost
/// does when a message makes no sense to it.
const GRACE: Duration = Duration::from_millis(100);

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Control {
    pub path: PathBuf,
    pub settings: Settings,
    pub listener: Option<Arc<Listener>>,
    pub domain: Arc<SharedDomain>,
    pub ground: Ground,
    pub rx: Vec<Arc<Place<RxEnd>>>,
    pub tx: Vec<Arc<Place<TxEnd>>>,
    pub shared: Arc<Shared>,
    /// Raised, and never drained, when the port is stopped.
    pub stop: Arc<EventFd>,
}

/// How a session ended.
#[derive(Debug)]
enum End {
    Stopped,
    HungUp,
    /// It is to be cut off.
    Bad(Refusal),
}

impl Control {
    /// Until the port is stopped. Whether all back ends are known to touch nothing any more.
    pub fn run(mut self, first: Option<Box<dyn BackEnd>>) -> bool {
        let (mut next, mut quiet, mut told) = (first, true, None::<String>);
        while !self.is_stopped() {
            let session = match next.take() {
                Some(session) => Ok(Some(session)),
                None => self.meet(),
            };
            let served = match session {
                Ok(Some(session)) => self.serve(session),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match served {
                Ok(was_quiet) => (quiet, told) = (quiet && was_quiet, None),
                // Once, not ten times a second.
                Err(error) if told != Some(error.to_string()) => {
                    tracing::warn!(path = %self.path.display(), %error, "a virtio-user port has no back end");
                    told = Some(error.to_string());
                }
                Err(_) => {}
            }
            self.rest(RETRY);
        }
        self.rx.iter().for_each(|place| place.end());
        self.tx.iter().for_each(|place| place.end());
        self.put(None);
        quiet
    }

    fn is_stopped(&self) -> bool {
        self.rest(Duration::ZERO)
    }

    /// Waits; whether the port was stopped.
    fn rest(&self, limit: Duration) -> bool {
        wait([self.stop.as_fd()], Some(limit))[0]
    }

    /// The next back end; none when the port is stopped.
    fn meet(&mut self) -> Result<Option<Box<dyn BackEnd>>, Refusal> {
        if let Some(tap) = self.settings.tap {
            return Ok(Some(Box::new(Kernel::open(&self.path, tap, &self.settings)?)));
        }
        let stream = match &self.listener {
            None => reach(&self.path)?,
            Some(listener) => {
                let [stopped, _] = wait([self.stop.as_fd(), listener.socket().as_fd()], None);
                match listener.accept() {
                    Ok(stream) if !stopped => stream,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                    _ => return Ok(None),
                }
            }
        };
        let session = Session::greet(stream, &self.settings, &self.stop)?;
        Ok(Some(Box::new(session)))
    }

    /// From its rings' making to their end; whether the back end is known to touch nothing any more.
    fn serve(&mut self, mut back: Box<dyn BackEnd>) -> Result<bool, Refusal> {
        back.agree(self.ground.config.offloads)?;
        let mut rings = Rings::new(&self.ground, back.features())?;
        let memory = self.memory(&rings)?;
        let vrings = std::mem::take(&mut rings.vrings);
        let (custody, health) = (rings.custody.clone(), rings.health.clone());
        let wakes = self.ground.wakes.clone();
        let _heeded = Heeded::new(&wakes, &vrings)?;
        // No buffer is in a ring before the queues have it.
        back.begin(&memory, &vrings, &self.stop)?;
        self.put(Some(rings));
        self.shared.turn(true);
        tracing::info!(path = %self.path.display(), features = ?back.features(), "a virtio-user port has a back end");
        let end = self.watch(&*back, &health);
        let parted = match end {
            End::HungUp => Parted::HungUp,
            _ => back.part(&vrings, &self.stop),
        };
        self.shared.turn(false);
        if parted == Parted::HungUp {
            sleep(GRACE);
        }
        let quiet = parted != Parted::Silent;
        if quiet {
            custody.open();
        }
        self.put(None);
        match end {
            End::Bad(error) => tracing::warn!(path = %self.path.display(), %error, "a back end was cut off"),
            End::HungUp => tracing::info!(path = %self.path.display(), "a back end has gone"),
            End::Stopped => {}
        }
        Ok(quiet)
    }

    /// What the back end is to see: the pools and the rings.
    fn memory(&self, rings: &Rings) -> Result<Vec<Piece>, Refusal> {
        let pools = std::iter::once(&self.ground.pool).chain(&self.ground.others);
        let mappings = pools.map(|pool| pool.mapping()).chain([&rings.memory]);
        let mut pieces: Vec<Piece> = Vec::new();
        for mapping in mappings {
            let missing = Refusal::Lacks("memory that was mapped");
            let region = self.domain.region(mapping.iova()).ok_or(missing)?;
            if pieces.iter().all(|known| known.region.iova() != region.iova()) {
                let mapping = mapping.clone();
                pieces.push(Piece { mapping, region });
            }
        }
        Ok(pieces)
    }

    /// Gives the queues their rings, or takes them away.
    fn put(&self, rings: Option<Rings>) {
        let (mut rx, mut tx) = rings.map_or_else(Default::default, |rings| (rings.rx, rings.tx));
        rx.reverse();
        tx.reverse();
        self.rx.iter().for_each(|place| place.put(rx.pop()));
        self.tx.iter().for_each(|place| place.put(tx.pop()));
        self.ground.wakes.iter().for_each(|wake| wake.nudge());
    }

    /// Until something ends the session.
    fn watch(&self, back: &dyn BackEnd, health: &Health) -> End {
        loop {
            let [stopped, _] = guard::wait([self.stop.as_fd(), back.event()], Some(RETRY));
            match back.look() {
                News::HungUp => return End::HungUp,
                News::Bad(refusal) => return End::Bad(refusal),
                News::Nothing => {}
            }
            if stopped {
                return End::Stopped;
            }
            if health.is_broken() {
                return End::Bad(Refusal::Ring);
            }
        }
    }
}
