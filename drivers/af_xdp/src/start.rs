//! Start: the pool becomes a UMEM, and each queue a socket.

use crate::AfXdp;
use crate::format::{Receive, Transmit, pieces};
use crate::notify::{Kick, Wake};
use crate::queues::Finishing;
use crate::refusal::refused;
use crate::socket::{Rings, Side, Socket};
use crate::sys::umem::Umem;
use crate::umem::HEADROOM;
use crate::zero_copy::Shape;
use barline::mem::DmaDomain;
use barline::pool::{Custody, PoolCache, PoolMap};
use barline::port::{Port, PortConfig, PortError, Queues, RxQueue, may_start};
use barline::ring::FrameLimit;
use barline::ring::completion::{Health, RxRing, TxRing};
use std::os::fd::AsFd;
use std::sync::Arc;

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
    /// Why an interface that has zero copy could not have it with this pool.
    pub hindrance: Option<String>,
}

/// What the queues of one start have in common.
pub(crate) struct Plan<'a> {
    pub config: &'a PortConfig,
    pub umem: Arc<Umem>,
    pub map: PoolMap,
    /// Flags of bind.
    pub flags: u16,
    custody: Arc<Custody>,
    health: Health,
    limit: FrameLimit,
    /// Frames may take several buffers.
    several: bool,
    /// Descriptors of the longest frame in the transmit ring.
    pub pieces: u32,
}

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
        config.link.wait(|| self.link().up);
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
        let shape = Shape::new(&config.pool, umem.chunk());
        let flags = self.flags(shape, frame as usize)?;
        // Without several buffers a frame, none may get longer than one by a change of the MTU.
        let most = match several {
            true => room as u32,
            false if flags & libc::XDP_COPY != 0 => umem.chunk() - HEADROOM as u32,
            false => self.device.room(umem.chunk() as usize) as u32,
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
            // Behind the driver there is none for other reasons.
            hindrance: self
                .hindrance(shape, frame as usize)
                .filter(|_| self.device.zero_copy == Some(true) && self.redirect.is_native()),
        });
        Ok(Plan {
            config,
            umem,
            map,
            flags,
            custody,
            health,
            limit,
            several,
            pieces,
        })
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
        tracing::info!(
            interface = self.name,
            queues = self.running.as_ref().map(|running| running.sockets.len()),
            mode = self.mode(),
            mtu = config.mtu,
            finishes_checksums = self.finishes,
            "AF_XDP"
        );
    }
}
