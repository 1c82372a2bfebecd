//! The port.

use crate::device::Shared;
use crate::features::{Features, of_offloads};
use crate::rx::VhostRx;
use crate::serve::Control;
use crate::socket::{Socket, VhostError};
use crate::tx::VhostTx;
use barline::offload::Offloads;
use barline::port::{
    Change, Link, LinkRequest, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, RxQueue,
    TxQueue, may_start,
};
use barline::telemetry::CounterSink;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How a vhost-user port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The socket.
    pub path: PathBuf,
    /// The peer listens and we connect, again and again.
    pub client: bool,
    /// Most queues each way that a peer can use.
    pub queues: u16,
    /// What is offered to the peer.
    pub features: Features,
}

/// Most queues each way.
pub const MOST_QUEUES: u16 = 64;
/// Longest MTU in bytes.
const MOST_MTU: u32 = 9600;
/// What the link is said to have, in Mbit/s: nothing limits it.
const SPEED: u32 = 10_000;

impl Options {
    /// A server at `path`, with as many queues as it is started with, and everything offered.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            client: false,
            queues: MOST_QUEUES,
            features: Features::default(),
        }
    }
}

/// A vhost-user port: the device side of a virtio network card whose driver is in another process.
#[derive(Debug)]
pub struct Vhost {
    // Declared before the socket: the thread ends before the file goes.
    running: Option<Running>,
    socket: Arc<Socket>,
    features: Features,
    caps: PortCaps,
    mac: MacAddress,
    limit: Arc<AtomicU32>,
    /// Queues of the last start.
    last: Weak<()>,
}

#[derive(Debug)]
struct Running {
    // Declared first: the thread ends before what it shares.
    control: Control,
    shared: Arc<Shared>,
    room: usize,
}

impl Vhost {
    /// Makes the socket; nothing is accepted before the start.
    ///
    /// # Errors
    /// [`VhostError`].
    pub fn open(options: &Options) -> Result<Self, VhostError> {
        let Options {
            path,
            client,
            queues,
            features,
        } = options;
        if !(1..=MOST_QUEUES).contains(queues) {
            return Err(VhostError::Options(format!(
                "{queues} queues asked for, 1 to {MOST_QUEUES} are possible"
            )));
        }
        let caps = PortCaps {
            rx_queues: *queues,
            tx_queues: *queues,
            // The peer makes the rings; any length will do.
            ring: (8, 1 << 15),
            mtu: MOST_MTU,
            speed: 0,
            offloads: Offloads::all(),
            vlans: false,
        };
        Ok(Self {
            running: None,
            socket: Arc::new(Socket::new(path, *client)?),
            features: *features,
            caps,
            mac: MacAddress::of_name(b'v', path),
            limit: Arc::default(),
            last: Weak::new(),
        })
    }

    fn shut_down(&mut self) {
        if let Some(running) = self.running.take() {
            // No peer, no open gate; then the queues learn that it was for good.
            drop(running.control);
            running.shared.gates.iter().for_each(|gate| gate.end());
        }
    }
}

impl Port for Vhost {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        config.check(&self.caps)?;
        if config.rx_queues != config.tx_queues {
            return Err(PortError::Config(
                "a vhost-user port needs as many receive as transmit queues".into(),
            ));
        }
        config.check_long_buffers()?;
        let lacking = |error: std::io::Error| {
            PortError::Config(format!("a vhost-user port cannot start: {error}; see: ulimit -n"))
        };
        self.limit.store(config.max_frame(), Ordering::Relaxed);
        let shared = Shared::new(config.rx_queues).map_err(lacking)?;
        let life = Arc::new(());
        let mut queues = Queues::default();
        for pair in shared.gates.chunks_exact(2) {
            queues
                .tx
                .push(Box::new(VhostTx::new(&pair[0], &life, &self.limit)) as Box<dyn TxQueue>);
            queues
                .rx
                .push(Box::new(VhostRx::new(&pair[1], &life, &self.limit)) as Box<dyn RxQueue>);
        }
        let offered = self.features.offered() | of_offloads(config.offloads);
        let control = Control::start(&self.socket, &shared, offered).map_err(lacking)?;
        self.last = Arc::downgrade(&life);
        self.running = Some(Running {
            control,
            shared,
            room: config.pool.data_room(),
        });
        if let LinkRequest::WaitMillis(limit) = config.link {
            let end = Instant::now() + Duration::from_millis(limit.into());
            while !self.link().up && Instant::now() < end {
                sleep(Duration::from_millis(5));
            }
        }
        Ok(queues)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues);
        self.shut_down();
        Ok(())
    }

    /// Up while a peer has set up its first pair of rings and enabled them.
    fn link(&self) -> Link {
        let up = self
            .running
            .as_ref()
            .is_some_and(|running| running.shared.is_up());
        Link {
            up,
            speed: if up { SPEED } else { 0 },
            full_duplex: true,
        }
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        if let Some(running) = &self.running {
            running.shared.counts.show(out);
        }
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.running.as_ref()?.shared.event()
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        let running = self.running.iter();
        running.map(|running| running.shared.news.as_fd()).collect()
    }

    /// There is no filter: what the peer sends is for whoever is behind this port.
    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let Some(running) = &self.running else {
            return Err(PortError::State("stopped; start it first"));
        };
        let most = self.caps.mtu.min(running.room.saturating_sub(18) as u32);
        match change {
            Change::Mtu(mtu) if (68..=most).contains(&mtu) => {
                self.limit.store(mtu + 18, Ordering::Relaxed);
                Ok(())
            }
            Change::Mtu(mtu) => Err(PortError::Config(format!(
                "MTU {mtu} asked for, 68 to {most} fit the port's buffers"
            ))),
            Change::Promiscuous(_) | Change::AllMulticast(_) => Err(PortError::Unsupported("filter frames")),
            _ => Err(PortError::Unsupported("change this setting")),
        }
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        self.shut_down();
    }
}
