use crate::claims::Claim;
use crate::rx::AfPacketRx;
use crate::socket::{self, Wanted};
use crate::tx::AfPacketTx;
use crate::{AfPacketError, Claims, Options, sys};
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, Reader, Run, RxQueue,
    TxQueue, may_start,
};
use barline::telemetry::{Cell, CounterSink};
use barline_netif::{Interface, LinkWatch, errno};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// Most queues each way.
const MOST_QUEUES: u16 = 64;
/// Bytes of a frame beyond the MTU: the Ethernet header and a VLAN tag.
const HEADERS: u32 = 18;

/// A port over an interface of the kernel.
#[derive(Debug)]
pub struct AfPacket {
    interface: Interface,
    watch: LinkWatch,
    options: Options,
    mac: MacAddress,
    caps: PortCaps,
    running: Option<Running>,
    /// Kept when it stops: what its sockets counted.
    counts: Counts,
    gone: bool,
    /// Queues of the last start.
    last: Weak<Run>,
    /// Longest frame in bytes that the interface takes now.
    longest: Arc<AtomicU32>,
    _claim: Arc<Claim>,
}

/// What the sockets of a start counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    arrived: u64,
    dropped: u64,
    segments: u64,
}

#[derive(Debug)]
struct Running {
    run: Arc<Run>,
    /// The receive queues' sockets: their filters and memberships, and their counts.
    sockets: Vec<OwnedFd>,
    segments: Vec<Arc<Cell>>,
    wanted: Wanted,
}

impl AfPacket {
    /// Finds the interface, and asks whether this process may use packet sockets. Nothing is received before the start.
    /// `claims` is what ports of this process have.
    ///
    /// # Errors
    /// [`AfPacketError`].
    pub fn open(options: &Options, claims: &Claims) -> Result<Self, AfPacketError> {
        let (interface, facts) = Interface::ethernet(&options.interface)?;
        drop(sys::socket().map_err(AfPacketError::of("socket"))?);
        let claim = claims.claim(interface.index());
        let claim = claim.ok_or_else(|| AfPacketError::Twice {
            interface: facts.name.clone(),
        })?;
        let watch = LinkWatch::new().map_err(|error| AfPacketError::Os {
            call: "socket NETLINK_ROUTE",
            errno: errno(&error),
        })?;
        let caps = PortCaps {
            rx_queues: MOST_QUEUES,
            tx_queues: MOST_QUEUES,
            // Descriptors are only a measure of the ring's memory.
            ring: (8, 1 << 14),
            mtu: facts.mtu.max(68),
            speed: interface.speed().unwrap_or(0),
            offloads: barline::offload::Offloads::empty(),
            vlans: false,
        };
        Ok(Self {
            interface,
            watch,
            options: options.clone(),
            mac: facts.mac,
            caps,
            running: None,
            counts: Counts::default(),
            gone: false,
            last: Weak::new(),
            longest: Arc::new(AtomicU32::new(facts.mtu.saturating_add(HEADERS))),
            _claim: claim,
        })
    }

    /// Reads what the sockets count, which forget it when it is read.
    fn collect(&mut self) {
        if let Some(running) = &self.running {
            for socket in &running.sockets {
                let [arrived, dropped] = sys::statistics(socket.as_fd()).unwrap_or_default();
                self.counts.arrived += u64::from(arrived);
                self.counts.dropped += u64::from(dropped);
            }
            self.counts.segments = running.segments.iter().map(|cell| cell.get()).sum();
        }
    }

    fn shut_down(&mut self) {
        self.collect();
        if let Some(running) = self.running.take() {
            running.run.end();
        }
    }

    fn queues(&self, config: &PortConfig) -> Result<(Queues, Running), AfPacketError> {
        let index = self.interface.index();
        let rings = socket::receivers(index, config.rx_queues, config.rx_ring, self.options.fanout)?;
        let run = Arc::new(Run::new(config, &self.caps));
        let wanted = Wanted {
            promiscuous: config.promiscuous,
            multicast: false,
        };
        let clone = |ring: &sys::Ring| {
            let socket = ring.as_fd().try_clone_to_owned();
            socket.map_err(|error| AfPacketError::of("dup")(errno(&error)))
        };
        let running = Running {
            sockets: rings.iter().map(clone).collect::<Result<_, _>>()?,
            segments: rings.iter().map(|_| Arc::default()).collect(),
            run: run.clone(),
            wanted,
        };
        let mut queues = Queues::default();
        // A change of the MTU cannot make them longer.
        let longest = (self.caps.mtu + HEADERS) as usize;
        for _ in 0..config.tx_queues {
            let slots = socket::sender(index, config.tx_ring, longest)?;
            let tx = AfPacketTx::new(slots, &run, &self.longest);
            queues.tx.push(Box::new(tx) as Box<dyn TxQueue>);
        }
        // Last: from here on frames arrive.
        let fds: Vec<BorrowedFd<'_>> = rings.iter().map(AsFd::as_fd).collect();
        socket::want(&fds, index, Wanted::default(), wanted).map_err(AfPacketError::of("setsockopt"))?;
        drop(fds);
        for (ring, segments) in rings.into_iter().zip(&running.segments) {
            let rx = AfPacketRx::new(ring, &run, segments);
            queues.rx.push(Box::new(Reader::new(rx)) as Box<dyn RxQueue>);
        }
        Ok((queues, running))
    }

    fn want(&mut self, wanted: Wanted) -> Result<(), PortError> {
        let index = self.interface.index();
        let Some(running) = &mut self.running else {
            return Err(PortError::STOPPED);
        };
        let fds: Vec<BorrowedFd<'_>> = running.sockets.iter().map(AsFd::as_fd).collect();
        socket::want(&fds, index, running.wanted, wanted)
            .map_err(|errno| PortError::Config(format!("{}: {errno}", self.options.interface)))?;
        running.wanted = wanted;
        Ok(())
    }

    fn set_mtu(&self, mtu: u32) -> Result<(), PortError> {
        let Some(running) = &self.running else {
            return Err(PortError::STOPPED);
        };
        running.run.set_mtu(mtu)
    }
}

impl Port for AfPacket {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        config.check(&self.caps)?;
        // What was asked for is right by now: the machine lacks it.
        let failed = |error: AfPacketError| PortError::Lacks(format!("{}: {error}", self.options.interface));
        let (queues, running) = self.queues(config).map_err(failed)?;
        self.last = Arc::downgrade(&running.run);
        self.running = Some(running);
        self.counts = Counts::default();
        config.link.wait(|| self.link().up || !self.interface.is_there());
        Ok(queues)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        self.shut_down();
        drop(queues);
        Ok(())
    }

    fn link(&self) -> Link {
        self.interface.link()
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        self.collect();
        let Counts {
            arrived,
            dropped,
            segments,
        } = self.counts;
        out.counter("nic_rx_packets", arrived);
        out.counter("nic_rx_queue_drops", dropped);
        out.counter("nic_rx_segments", segments);
    }

    /// Only that the interface is gone, or in another network namespace, ends the run: one that is set down or renamed is
    /// still there.
    fn event(&mut self) -> Option<PortEvent> {
        if self.watch.look()
            && let Ok(facts) = self.interface.facts()
        {
            let longest = facts.mtu.saturating_add(HEADERS);
            self.longest.store(longest, Ordering::Relaxed);
        }
        if self.gone || self.interface.is_there() {
            return None;
        }
        self.gone = true;
        Some(PortEvent::Gone)
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.watch.as_fd()]
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let wanted = self.running.as_ref().map(|running| running.wanted);
        let wanted = wanted.ok_or(PortError::STOPPED)?;
        match change {
            Change::Promiscuous(promiscuous) => self.want(Wanted {
                promiscuous,
                ..wanted
            }),
            Change::AllMulticast(multicast) => self.want(Wanted { multicast, ..wanted }),
            Change::Mtu(mtu) => self.set_mtu(mtu),
            // The interface's own would stay changed when this process is gone.
            _ => Err(PortError::Unsupported(
                "change this setting of the kernel's interface; use ip link",
            )),
        }
    }
}

impl Drop for AfPacket {
    fn drop(&mut self) {
        self.shut_down();
    }
}
