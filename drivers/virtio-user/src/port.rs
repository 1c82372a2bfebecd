//! The port as applications see it.

use crate::back::BackEnd;
use crate::events::Shared;
use crate::kernel::{Kernel, KernelError, TapName};
use crate::session::Session;
use crate::socket::{Listener, reach};
use crate::start::{Running, check};
use crate::{Refusal, Settings};
use barline::mem::SharedDomain;
use barline::offload::Offloads;
use barline::port::{
    Change, Link, LinkRequest, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues,
    may_start,
};
use barline::telemetry::CounterSink;
use barline::wait::EventFd;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest MTU where the back end has none of its own: what a packet's length can say, less headers.
const MOST_MTU: u32 = 65_000;
/// What the link is said to have, in Mbit/s: nothing limits it.
const SPEED: u32 = 10_000;

/// A port whose device is another process, over a vhost-user socket.
#[derive(Debug)]
pub struct VirtioUser {
    pub(crate) path: PathBuf,
    pub(crate) settings: Settings,
    caps: PortCaps,
    mac: MacAddress,
    pub(crate) domain: Arc<SharedDomain>,
    pub(crate) listener: Option<Arc<Listener>>,
    /// The back end that was there at the opening.
    pub(crate) first: Option<Box<dyn BackEnd>>,
    running: Option<Running>,
    pub(crate) shared: Arc<Shared>,
    /// Alive as long as queues of the last start are.
    last: Weak<()>,
}

impl VirtioUser {
    /// Connects to the back end that listens at `path`, or listens there for one that connects (`server`).
    ///
    /// # Errors
    /// Nobody listens, the path is taken, or the back end does not have what the settings need.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, PortError> {
        let at = path.display();
        let (mut listener, mut first) = (None, None::<Box<dyn BackEnd>>);
        settings.check(path)?;
        if let Some(tap) = settings.tap {
            first = Some(Box::new(Kernel::open(path, tap, &settings)?));
        } else if settings.server {
            let bound = Listener::bind(path);
            let bound =
                bound.map_err(|error| PortError::Config(format!("cannot listen at {at}: {error}")))?;
            listener = Some(Arc::new(bound));
        } else {
            let stream = reach(path).map_err(|error| {
                PortError::Config(format!(
                    "no back end listens at {at} ({error}); start it before, or have the port listen and the back end connect: add ,server"
                ))
            })?;
            let stop = EventFd::new().map_err(no_descriptors)?;
            let session = Session::greet(stream, &settings, &stop);
            let session = session.map_err(|error| PortError::Config(format!("{at}: {error}")))?;
            first = Some(Box::new(session));
        }
        let mtu = first
            .as_ref()
            .and_then(|back| back.mtu())
            .map_or(MOST_MTU, u32::from);
        Ok(Self {
            caps: PortCaps {
                rx_queues: settings.queues,
                tx_queues: settings.queues,
                ring: (8, 1 << 15),
                mtu: mtu.min(MOST_MTU),
                speed: 0,
                // What a back end does not offer is done in software, and is not received.
                offloads: Offloads::all(),
                vlans: false,
            },
            mac: first
                .as_ref()
                .and_then(|back| back.mac())
                .unwrap_or_else(|| own_mac(path, &settings)),
            path: path.to_owned(),
            settings,
            domain: Arc::new(SharedDomain::new()),
            listener,
            first,
            running: None,
            shared: Arc::new(Shared::new().map_err(no_descriptors)?),
            last: Weak::new(),
        })
    }

    /// The address space that the back end sees.
    pub fn domain(&self) -> &Arc<SharedDomain> {
        &self.domain
    }

    fn shut_down(&mut self) -> Result<(), PortError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        // It fails for a descriptor that is none.
        let _ = running.stop.raise();
        match running.thread.join() {
            Ok(true) => Ok(()),
            _ => Err(PortError::State(
                "stopped, but its back end has not let go: buffers that it can still reach are kept from everybody",
            )),
        }
    }

    fn await_link(&self, request: LinkRequest) {
        let LinkRequest::WaitMillis(limit) = request else {
            return;
        };
        let end = Instant::now() + Duration::from_millis(limit.into());
        while !self.shared.is_up() && Instant::now() < end {
            sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn no_descriptors(error: std::io::Error) -> PortError {
    PortError::Config(format!("no file descriptors are left: {error}; see: ulimit -n"))
}

/// An address for a port whose back end gives none: locally administered, the same for the same path.
fn own_mac(path: &Path, settings: &Settings) -> MacAddress {
    let path = path.as_os_str().as_encoded_bytes();
    let tap = settings.tap.as_ref().map_or(&[][..], TapName::bytes);
    let hash = path
        .iter()
        .chain(tap)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    MacAddress([2, a, b, c, d, e])
}

impl Port for VirtioUser {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        config.check(&self.caps)?;
        check(config)?;
        let (running, queues, life) = self.run(config)?;
        self.last = Arc::downgrade(&life);
        self.running = Some(running);
        self.await_link(config.link);
        Ok(queues)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues); // their buffers go to the custody, which opens when the back end has let go
        self.shut_down()
    }

    /// Up while there is a back end.
    fn link(&self) -> Link {
        let up = self.shared.is_up();
        Link {
            up,
            speed: if up { SPEED } else { 0 },
            full_duplex: true,
        }
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        out.counter("peer_connects", self.shared.connects());
        out.counter("peer_tx_lost", self.shared.lost());
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.shared.next()
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.shared.fd()]
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let running = self.running.as_ref();
        let running = running.ok_or(PortError::State("stopped; start it first"))?;
        match change {
            // It receives whatever its back end sends it.
            Change::Promiscuous(_) | Change::AllMulticast(_) => {}
            Change::Mac(mac) if mac.is_station() => self.mac = mac,
            Change::Mac(mac) => {
                return Err(PortError::Config(format!(
                    "{mac} is no station address: it must be unicast and not zero"
                )));
            }
            Change::Mtu(mtu) => {
                let most = self.caps.mtu.min((running.room as u32).saturating_sub(18));
                if !(68..=most).contains(&mtu) {
                    let text = format!("MTU {mtu} asked for, 68 to {most} fit the port's buffers");
                    return Err(PortError::Config(text));
                }
                running.limit.set(mtu + 18);
            }
            _ => return Err(PortError::Unsupported("change this setting")),
        }
        Ok(())
    }
}

impl Drop for VirtioUser {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.shut_down();
    }
}

impl From<Refusal> for PortError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rings(error) => error,
            Refusal::Kernel(error @ KernelError::NotSuchATap { .. }) => Self::Config(error.to_string()),
            Refusal::Kernel(error) => Self::Lacks(error.to_string()),
            other => Self::Config(other.to_string()),
        }
    }
}
