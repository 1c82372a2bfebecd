//! Start: the pool becomes a UMEM, and each queue a socket.

use crate::AfXdp;
use crate::format::{Receive, Transmit, pieces};
use crate::notify::{Kick, Wake};
use crate::options::Mode;
use crate::queues::Finishing;
use crate::refusal::refused;
use crate::socket::{Rings, Setup, Side, Socket};
use crate::sys::umem::Umem;
use crate::umem::{HEADROOM, Umems};
use barline::mem::DmaDomain;
use barline::pool::{Custody, PoolCache, PoolMap};
use barline::port::{LinkRequest, Port, PortConfig, PortError, Queues, RxQueue, may_start};
use barline::ring::FrameLimit;
use barline::ring::completion::{Health, RxRing, TxRing};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a started port has.
#[derive(Debug)]
pub(crate) struct Running {
    pub custody: Arc<Custody>,
    pub health: Health,
    pub limit: FrameLimit,
    /// Bytes of the longest frame.
    pub room: u32,
    pub sockets: Vec<Arc<Socket>>,
    pub umem: Arc<Umem>,
    pub map: PoolMap,
}

/// What the queues of one start have in common.
struct Plan<'a> {
    config: &'a PortConfig,
    umem: Arc<Umem>,
    map: PoolMap,
    custody: Arc<Custody>,
    health: Health,
    limit: FrameLimit,
    /// Frames may take several buffers.
    several: bool,
    /// Descriptors of the longest frame in the transmit ring.
    pieces: u32,
}

/// How long a queue may be in use before that is taken for another program's use.
const QUEUE: Duration = Duration::from_secs(1);
/// A receive queue that has no buffers yet.
type Empty = (RxRing<Receive, Kick>, Arc<Socket>);

const LAYOUT: PortError = PortError::State("given rings that it cannot have");

impl AfXdp {
    /// As [`barline::port::Port::start`].
    pub(crate) fn start_queues(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        if self.is_gone() {
            return Err(PortError::State("without its interface: it was removed"));
        }
        config.check(&self.caps)?;
        let started = self.bring_up(config);
        if started.is_err() {
            self.shut_down();
        }
        started
    }

    fn bring_up(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        let plan = self.prepare(config)?;
        self.choose(config.promiscuous, false)?;
        let (mut queues, mut empty) = (Queues::default(), Vec::new());
        for q in 0..config.rx_queues.max(config.tx_queues) {
            let (socket, rings) = self.socket(q, &plan)?;
            self.keep(&socket);
            self.make_queues(&socket, rings, &plan, (&mut queues, &mut empty))?;
        }
        let mut cache: PoolCache = config.pool.cache();
        for (mut ring, socket) in empty {
            ring.fill(&mut cache);
            let opened = self.redirect.open(socket.queue, socket.as_fd());
            opened.map_err(|error| refused("send frames to a socket (bpf)", &error))?;
            let queue: Box<dyn RxQueue> = if self.finishes {
                Box::new(Finishing(ring))
            } else {
                Box::new(ring)
            };
            queues.rx.push(queue);
        }
        self.tell(config);
        self.await_link(config.link);
        Ok(queues)
    }

    fn prepare<'a>(&mut self, config: &'a PortConfig) -> Result<Plan<'a>, PortError> {
        let umem = self.umems.of(&config.pool)?;
        let frame = config.max_frame();
        let room = config.pool.buffer_len().min(usize::from(u16::MAX)) - HEADROOM;
        if room < frame as usize {
            return Err(PortError::Config(format!(
                "MTU {} needs buffers of {} bytes with the {HEADROOM} that AF_XDP leaves free, the pool's have {}; make the pool with data_room({})",
                config.mtu,
                frame as usize + HEADROOM,
                config.pool.buffer_len(),
                frame as usize + HEADROOM,
            )));
        }
        let domain: Arc<dyn DmaDomain> = umem.clone();
        let map = config.pool.map(&domain)?;
        let (custody, health, limit) = (Custody::new(), Health::default(), FrameLimit::new(frame));
        self.last = Arc::downgrade(&custody);
        let several = frame as usize > umem.chunk() as usize - HEADROOM;
        // Without several buffers a frame, none may get longer than one by a change of the MTU.
        let most = if several {
            room as u32
        } else {
            umem.chunk() - HEADROOM as u32
        };
        let pieces = pieces(most, umem.chunk());
        self.running = Some(Running {
            custody: custody.clone(),
            health: health.clone(),
            limit: limit.clone(),
            room: most,
            sockets: Vec::new(),
            umem: umem.clone(),
            map: map.clone(),
        });
        Ok(Plan {
            config,
            umem,
            map,
            custody,
            health,
            limit,
            several,
            pieces,
        })
    }

    fn flags(&self, several: bool) -> u16 {
        let copying = match self.options.mode {
            Mode::ZeroCopy => libc::XDP_ZEROCOPY,
            Mode::Copy | Mode::Skb => libc::XDP_COPY,
            Mode::Auto if !self.redirect.is_native() => libc::XDP_COPY,
            Mode::Auto => 0, // the kernel tries both
        };
        let several = if several { libc::XDP_USE_SG } else { 0 };
        copying | several | libc::XDP_USE_NEED_WAKEUP
    }

    fn socket(&self, q: u16, plan: &Plan<'_>) -> Result<(Arc<Socket>, Rings), PortError> {
        let config = plan.config;
        let setup = Setup {
            interface: self.index,
            queue: self.options.queue + u32::from(q),
            rx: (q < config.rx_queues).then_some(config.rx_ring),
            tx: (q < config.tx_queues).then_some(config.tx_ring * plan.pieces),
            flags: self.flags(plan.several),
            busy_poll: self.options.busy_poll,
        };
        let end = Instant::now() + QUEUE;
        loop {
            match Socket::open(&self.umems, &plan.umem, &plan.map, &setup) {
                // The kernel lets go of the queue of a closed socket a little later.
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY)
                        && !self.umems.has(setup.interface, setup.queue)
                        && Instant::now() < end =>
                {
                    sleep(Duration::from_millis(1));
                }
                opened => return opened.map_err(|error| self.explain(&error, &setup)),
            }
        }
    }

    /// Whether a driver has given back the buffers of a closed socket with zero copy. It does when the kernel lets go of the
    /// queue: then another socket can have it.
    pub(crate) fn is_quiet(&self, running: &Running, socket: &Socket) -> bool {
        let setup = Setup {
            interface: self.index,
            queue: socket.queue,
            rx: None,
            tx: Some(4),
            flags: libc::XDP_COPY,
            busy_poll: None,
        };
        let end = Instant::now() + QUEUE;
        while let Err(error) = Socket::open(&Umems::default(), &running.umem, &running.map, &setup) {
            if error.raw_os_error() != Some(libc::EBUSY) {
                break; // there is no such interface any more
            }
            if Instant::now() > end {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
        true
    }

    fn keep(&mut self, socket: &Arc<Socket>) {
        if let Some(running) = &mut self.running {
            running.sockets.push(socket.clone());
        }
    }

    fn make_queues(
        &self,
        socket: &Arc<Socket>,
        rings: Rings,
        plan: &Plan<'_>,
        (queues, empty): (&mut Queues, &mut Vec<Empty>),
    ) -> Result<(), PortError> {
        let Plan {
            config,
            map,
            custody,
            limit,
            health,
            ..
        } = plan;
        let Rings {
            fill,
            completion,
            rx,
            tx,
        } = rings;
        if let Some(rx) = rx {
            let busy = self.options.busy_poll.is_some();
            let format = Receive::new(fill, rx, plan.several, busy, Some(socket.clone()));
            let kick = Kick(socket.clone(), Side::Rx);
            let ring = RxRing::new(format, kick, map, custody, limit, health).ok_or(LAYOUT)?;
            let wake = config.interrupts.then(|| Box::new(Wake(socket.clone())) as _);
            empty.push((ring.with_interrupt(wake), socket.clone()));
        }
        if let Some(tx) = tx {
            let chunk = plan.umem.chunk();
            let format = Transmit::new(
                (tx, completion),
                config.tx_ring,
                chunk,
                socket.zero_copy,
                Some(socket.clone()),
            );
            let kick = Kick(socket.clone(), Side::Tx);
            let ring = TxRing::new(format, kick, map, &[], custody, limit, health).ok_or(LAYOUT)?;
            queues.tx.push(Box::new(ring.copying(&config.send_pools)));
        }
        Ok(())
    }

    /// What was got.
    fn tell(&self, config: &PortConfig) {
        let sockets = self.running.iter().flat_map(|running| &running.sockets);
        let zero_copy = sockets.clone().all(|socket| socket.zero_copy);
        tracing::info!(
            interface = self.name,
            queues = sockets.count(),
            mode = if zero_copy { "zero copy" } else { "copy" },
            program = if self.redirect.is_native() {
                "in the driver"
            } else {
                "behind the driver (SKB mode)"
            },
            mtu = config.mtu,
            finishes_checksums = self.finishes,
            "AF_XDP"
        );
    }

    fn await_link(&self, request: LinkRequest) {
        let LinkRequest::WaitMillis(limit) = request else {
            return;
        };
        let end = Instant::now() + Duration::from_millis(limit.into());
        while !self.link().up && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
    }
}
