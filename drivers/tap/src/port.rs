use crate::attach::attach;
use crate::kernel::is_kept;
use crate::shared::{Shared, number};
use crate::sys::set_offload;
use crate::{TapError, TapRx, TapTx};
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, Reader, RxQueue,
    TxQueue, may_start,
};
use barline::telemetry::{Cell, CounterSink, RxCounters};
use barline_netif::{Interface, LinkWatch, errno, probe_tun_offloads, tun_offloads};
use crossbeam::utils::CachePadded;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Bytes of `struct virtio_net_hdr`, which is before every frame.
pub(crate) const VNET: usize = 10;
/// Most queues each way: the kernel has 256.
const MOST_QUEUES: u16 = 64;
/// Longest MTU in bytes.
pub(crate) const MOST_MTU: u32 = 9600;
/// Mbit/s of an interface that cannot be asked.
const ELSEWHERE: u32 = 10_000;

/// A TAP port.
#[derive(Debug)]
pub struct Tap {
    pub(crate) name: String,
    /// The first queue, which keeps the interface.
    pub(crate) first: Arc<File>,
    pub(crate) interface: Interface,
    watch: LinkWatch,
    mac: MacAddress,
    caps: PortCaps,
    running: Option<Running>,
    /// What it counted when it was stopped.
    counts: [u64; 3],
    gone: bool,
    /// Queues of the last start.
    last: Weak<Shared>,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub shared: Arc<Shared>,
    /// Drops that the interface had counted when it was started, and when it was last asked.
    dropped: (u64, u64),
    /// Of each receive queue: its counters, and frames for other stations.
    queues: Vec<(Arc<CachePadded<RxCounters>>, Arc<Cell>)>,
}

impl Running {
    /// Frames that came, those of them that were for this station, and those that found no room.
    fn counts(&self) -> [u64; 3] {
        let ours = |rx: &RxCounters| rx.rx_packets.get() + rx.rx_lengths.get() + rx.rx_errors.get();
        let own = self.queues.iter().map(|(rx, _)| ours(rx)).sum();
        let others: u64 = self.queues.iter().map(|(_, others)| others.get()).sum();
        let dropped = self.dropped.1 - self.dropped.0;
        [own + others + dropped, own, dropped]
    }
}

impl Tap {
    /// Makes the interface, down and without an address.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn open(name: &str) -> Result<Self, TapError> {
        let bad = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'%' | b':' | 0);
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(bad) || name.starts_with('.') {
            return Err(TapError::Name {
                name: name.to_owned(),
            });
        }
        let was_there = Interface::find(name).is_ok();
        let first = Arc::new(attach(name)?);
        if was_there && !is_kept(&first) {
            // It lives by the queues of another port or program, which would share its frames with this one.
            return Err(TapError::InUse {
                name: name.to_owned(),
            });
        }
        let offloads = probe_tun_offloads(|flags| set_offload(first.as_fd(), flags).is_ok());
        let refused = |errno| TapError::Os {
            call: "TUNSETOFFLOAD",
            errno,
        };
        set_offload(first.as_fd(), 0).map_err(refused)?;
        let gone = |_| TapError::Taken {
            name: name.to_owned(),
        };
        let interface = Interface::find(name).map_err(gone)?;
        let watch = LinkWatch::new().map_err(|error| TapError::Os {
            call: "socket NETLINK_ROUTE",
            errno: errno(&error),
        })?;
        Ok(Self {
            name: name.to_owned(),
            first,
            interface,
            watch,
            mac: MacAddress::of_name(b't', name),
            caps: PortCaps {
                rx_queues: MOST_QUEUES,
                tx_queues: MOST_QUEUES,
                ring: (8, 1 << 14),
                mtu: MOST_MTU,
                speed: 0,
                offloads,
                vlans: false,
            },
            running: None,
            counts: [0; 3],
            gone: false,
            last: Weak::new(),
        })
    }

    /// Asks the kernel what it dropped. One in another namespace cannot be asked: what it last said stays.
    fn look_at_drops(&mut self) {
        if let Some(running) = &mut self.running
            && let Ok(now) = self.interface.tx_dropped()
        {
            running.dropped.1 = now.max(running.dropped.1);
        }
    }

    fn shut_down(&mut self) {
        self.look_at_drops();
        if let Some(running) = self.running.take() {
            running.shared.run.end();
            self.counts = running.counts();
        }
    }
}

impl Port for Tap {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        config.check(&self.caps)?;
        config.check_long_buffers()?;
        config.check_pairs("tap")?;
        if !self.is_there() {
            return Err(PortError::Lacks(format!("the interface {} is gone", self.name)));
        }
        let failed = |error: &dyn std::fmt::Display| PortError::Lacks(format!("tap:{}: {error}", self.name));
        let files = self.files(config.rx_queues).map_err(|error| failed(&error))?;
        // Of the whole interface: attaching a queue has set it back.
        let left = set_offload(self.first.as_fd(), tun_offloads(config.offloads));
        left.map_err(|errno| failed(&format!("TUNSETOFFLOAD: {errno}")))?;
        match self.set_up(config) {
            Ok(()) => {}
            // It was moved to another namespace before the start: whoever did that sets it up.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) && self.is_there() => {}
            Err(error) => return Err(failed(&format!("the interface cannot be set up: {error}"))),
        }
        self.drain(config.rx_ring);
        let dropped = self.interface.tx_dropped().unwrap_or(0);
        let shared = Arc::new(Shared::new(config, &self.caps, self.mac));
        let (mut queues, mut counters) = (Queues::default(), Vec::new());
        for file in &files {
            let rx = TapRx::new(file, &shared);
            let others = rx.others();
            let rx = Reader::new(rx);
            counters.push((rx.shared_counters(), others));
            queues.rx.push(Box::new(rx) as Box<dyn RxQueue>);
            queues
                .tx
                .push(Box::new(TapTx::new(file, &shared)) as Box<dyn TxQueue>);
        }
        self.last = Arc::downgrade(&shared);
        self.running = Some(Running {
            shared,
            dropped: (dropped, dropped),
            queues: counters,
        });
        Ok(queues)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        self.shut_down();
        drop(queues);
        Ok(())
    }

    /// One in another namespace cannot be asked, and is taken to be up.
    fn link(&self) -> Link {
        match self.interface.is_there() {
            true => self.interface.link(),
            false => {
                let up = self.is_there();
                let speed = if up { ELSEWHERE } else { 0 };
                let full_duplex = true;
                Link {
                    up,
                    speed,
                    full_duplex,
                }
            }
        }
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        self.look_at_drops();
        let counts = self.running.as_ref().map(Running::counts);
        let [arrived, own, missed] = counts.unwrap_or(self.counts);
        out.counter("nic_rx_total", arrived);
        out.counter("nic_rx_packets", own);
        out.counter("nic_rx_missed", missed);
    }

    /// Somebody has deleted the interface.
    fn event(&mut self) -> Option<PortEvent> {
        self.watch.look();
        if self.gone || self.is_there() {
            return None;
        }
        self.gone = true;
        Some(PortEvent::Gone)
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.watch.as_fd()]
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let Some(running) = &self.running else {
            return Err(PortError::STOPPED);
        };
        let shared = &running.shared;
        match change {
            Change::Promiscuous(on) => shared.promiscuous.store(on, Ordering::Relaxed),
            Change::AllMulticast(on) => shared.multicast.store(on, Ordering::Relaxed),
            Change::Mac(mac) if mac.is_station() => {
                shared.mac.store(number(&mac.0), Ordering::Relaxed);
                self.mac = mac;
            }
            Change::Mac(mac) => {
                return Err(PortError::Config(format!("{mac} is no address of a station")));
            }
            Change::Mtu(mtu) => return self.set_mtu(running, mtu),
            _ => return Err(PortError::Unsupported("change this setting")),
        }
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shut_down();
    }
}
