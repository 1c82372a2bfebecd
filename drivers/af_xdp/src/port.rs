//! The port.

use crate::error::XdpError;
use crate::netlink::{Interface, Netlink, News, query};
use crate::options::{Mode, Options};
use crate::program::Filter;
use crate::redirect::Redirect;
use crate::start::{Running, refused};
use crate::sys::netdev;
use crate::umem::Umems;
use barline::pool::Custody;
use barline::port::{Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues};
use barline::telemetry::CounterSink;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// An interface of the kernel, through AF_XDP sockets.
#[derive(Debug)]
pub struct AfXdp {
    // Declared first: sockets are closed before the program goes.
    pub(crate) running: Option<Running>,
    pub(crate) redirect: Arc<Redirect>,
    pub(crate) umems: Umems,
    pub(crate) options: Options,
    pub(crate) index: u32,
    /// As it is called now.
    pub(crate) name: String,
    pub(crate) caps: PortCaps,
    /// Checksums are to be finished: its frames may come from this machine's own stack.
    pub(crate) finishes: bool,
    /// Queues of the last start.
    pub(crate) last: Weak<Custody>,
    filter: Filter,
    /// Asks, and keeps the interface open for frames of others.
    ears: OwnedFd,
    /// Whether the interface was opened for all frames, and for all multicast frames.
    wide: (bool, bool),
    news: Netlink,
    gone: bool,
    /// Somebody has said that another program is attached.
    displaced: bool,
    /// The statistics of the last start, when it is over.
    statistics: [u64; 6],
}

/// Frames that a veth's program gets have not passed a device that could have finished their checksums.
const STACKED: &[&str] = &["veth"];
/// The names under which statistics are shown, in the order in which [`AfXdp::read`] has them.
const COUNTERS: [&str; 6] = [
    "xsk_rx_dropped",
    "xsk_rx_invalid_descs",
    "xsk_tx_invalid_descs",
    "xsk_rx_ring_full",
    "xsk_fill_ring_empty",
    "xsk_tx_dropped",
];

fn find(name: &str) -> Result<Interface, XdpError> {
    let none = || XdpError::NoInterface(name.to_owned());
    let index = nix::net::if_::if_nametoindex(name).map_err(|_| none())?;
    let found = query(index).map_err(XdpError::os("ask for the interface (netlink)"))?;
    found.ok_or_else(none)
}

impl AfXdp {
    /// Opens an interface: from now on its frames pass our program, which lets all of them through until the start.
    /// `umems` is what ports of this process have in common.
    ///
    /// # Errors
    /// [`XdpError`]; nothing stays attached.
    pub fn open(options: &Options, umems: &Umems) -> Result<Self, XdpError> {
        // Before anything changes: whether there are such sockets at all.
        drop(crate::sys::xsk::socket().map_err(XdpError::os("open an AF_XDP socket"))?);
        let news = Netlink::news().map_err(XdpError::os("listen to changes of interfaces (netlink)"))?;
        let interface = find(&options.interface)?;
        let ears = netdev::packet_socket().map_err(XdpError::os("open a packet socket"))?;
        // A driver that does not say how many it has, has one.
        let (rx, tx) = netdev::channels(ears.as_fd(), &interface.name).unwrap_or((1, 1));
        let (rx, tx) = (rx.max(1), tx.max(1));
        let left = |queues: u32| queues.checked_sub(options.queue).filter(|left| *left > 0);
        let (Some(rx_queues), Some(tx_queues)) = (left(rx), left(tx)) else {
            return Err(XdpError::NoQueue {
                interface: interface.name,
                queue: options.queue,
                queues: rx.min(tx),
            });
        };
        let filter = Filter {
            mac: interface.mac.unwrap_or(MacAddress([0; 6])),
            promiscuous: false,
            all_multicast: false,
        };
        let redirect = umems.redirect(&interface, options.mode, &filter)?;
        let few = |queues: u32| u16::try_from(queues).unwrap_or(u16::MAX).min(1024);
        Ok(Self {
            running: None,
            redirect,
            umems: umems.clone(),
            options: options.clone(),
            index: interface.index,
            caps: PortCaps {
                rx_queues: few(rx_queues),
                tx_queues: few(tx_queues),
                ring: (4, 1 << 15),
                mtu: interface.mtu,
                speed: netdev::speed(ears.as_fd(), &interface.name).map_or(0, |(speed, _)| speed),
            },
            finishes: STACKED.contains(&interface.kind.as_str()),
            name: interface.name,
            last: Weak::new(),
            filter,
            ears,
            wide: (false, false),
            news,
            gone: false,
            displaced: false,
            statistics: [0; 6],
        })
    }

    /// What a started port got: whether all of its sockets have zero copy, and whether its program runs in the driver.
    pub fn got(&self) -> Option<(Mode, bool)> {
        let running = self.running.as_ref()?;
        let zero_copy = running.sockets.iter().all(|socket| socket.zero_copy);
        let mode = if zero_copy { Mode::ZeroCopy } else { Mode::Copy };
        Some((mode, self.redirect.is_native()))
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone || matches!(query(self.index), Ok(None))
    }

    pub(crate) fn link_now(&self) -> Link {
        let up = query(self.index)
            .ok()
            .flatten()
            .is_some_and(|interface| interface.up);
        let (speed, full_duplex) =
            netdev::speed(self.ears.as_fd(), &self.name).unwrap_or((self.caps.speed, true));
        Link {
            up,
            speed: if up { speed } else { 0 },
            full_duplex,
        }
    }

    /// Which frames are the port's: by the program, and by the interface's own filter.
    pub(crate) fn choose(&mut self, promiscuous: bool, all_multicast: bool) -> Result<(), PortError> {
        let filter = Filter {
            promiscuous,
            all_multicast,
            ..self.filter
        };
        self.redirect
            .choose(&filter)
            .map_err(|error| PortError::Lacks(error.to_string()))?;
        self.filter = filter;
        let steps = [
            (false, promiscuous, self.wide.0),
            (true, all_multicast, self.wide.1),
        ];
        for (multicast_only, wanted, is) in steps {
            if wanted != is {
                let widened = netdev::widen(self.ears.as_fd(), self.index, multicast_only, wanted);
                widened
                    .map_err(|error| refused("open the interface for frames of other stations", &error))?;
            }
        }
        self.wide = (promiscuous, all_multicast);
        Ok(())
    }

    /// Statistics of all sockets.
    fn read(&self) -> [u64; 6] {
        let Some(running) = &self.running else {
            return self.statistics;
        };
        let mut sums = [0; 6];
        for socket in &running.sockets {
            let mut words = socket.statistics().unwrap_or_default();
            words[5] = socket.dropped.load(Ordering::Relaxed).into();
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
        }
        sums
    }

    pub(crate) fn shut_down(&mut self) {
        self.statistics = self.read();
        let Some(running) = self.running.take() else {
            return;
        };
        for socket in &running.sockets {
            self.redirect.close(socket.queue);
            let cut = socket.cut();
            if cut.is_err() || socket.zero_copy && !self.is_quiet(&running, socket) {
                tracing::error!(
                    ?cut,
                    "an AF_XDP socket stays open; its buffers are not used again"
                );
                return; // nothing is freed
            }
        }
        running.custody.open();
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let (most, limit) = match &self.running {
            Some(running) => (self.caps.mtu.min(running.room.saturating_sub(18)), &running.limit),
            None => return Err(PortError::State("not started")),
        };
        if !(68..=most).contains(&mtu) {
            return Err(PortError::Config(format!(
                "MTU {mtu} asked for, 68 to {most} fit the interface and the port's buffers"
            )));
        }
        limit.set(mtu + 18);
        Ok(())
    }

    /// The gravest news about our interface.
    fn look(&mut self) -> Option<PortEvent> {
        let mut lost = false;
        loop {
            let news = self.news.next().unwrap_or_default();
            if news.is_empty() {
                break;
            }
            for news in news {
                match news {
                    News::Gone(index) => self.gone |= index == self.index,
                    News::Is(interface) if interface.index == self.index => self.hear(interface),
                    News::Is(_) => {}
                    News::Lost => lost = true,
                }
            }
        }
        self.gone |= lost && self.is_gone();
        if self.gone {
            return Some(PortEvent::Gone);
        }
        let running = self.running.as_ref()?;
        (running.health.is_broken() || self.is_displaced()).then_some(PortEvent::Error)
    }

    fn hear(&mut self, interface: Interface) {
        if interface.name != self.name {
            tracing::info!(
                from = self.name,
                to = interface.name,
                "the interface was renamed; the port goes on"
            );
            self.name = interface.name;
        }
        self.displaced |= interface.program != Some(self.redirect.id());
    }

    /// Whether the interface has another program than ours, or none: no frame comes any more.
    fn is_displaced(&mut self) -> bool {
        if !std::mem::take(&mut self.displaced) {
            return false;
        }
        let program = query(self.index)
            .ok()
            .flatten()
            .and_then(|interface| interface.program);
        let displaced = program != Some(self.redirect.id());
        if displaced {
            tracing::error!(
                interface = self.name,
                ?program,
                "the redirect program was taken off the interface"
            );
        }
        self.displaced = displaced;
        displaced
    }
}

impl Port for AfXdp {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.filter.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        self.statistics = [0; 6];
        self.start_queues(config)
    }

    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        drop(queues); // their buffers go to the custody, which opens when the sockets are closed
        self.shut_down();
        Ok(())
    }

    fn link(&self) -> Link {
        self.link_now()
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        for (name, value) in COUNTERS.iter().zip(self.read()) {
            out.counter(name, value);
        }
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.look()
    }

    fn event_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.news.as_fd()]
    }

    fn set(&mut self, change: Change) -> Result<(), PortError> {
        if self.running.is_none() {
            return Err(PortError::State("not started"));
        }
        let Filter {
            promiscuous,
            all_multicast,
            ..
        } = self.filter;
        match change {
            Change::Promiscuous(on) => self.choose(on, all_multicast),
            Change::AllMulticast(on) => self.choose(promiscuous, on),
            Change::Mtu(mtu) => self.set_mtu(mtu),
            // It would outlive the port.
            Change::Mac(_) => Err(PortError::Unsupported(
                "change the address of the kernel's interface: sudo ip link set NAME address ADDRESS",
            )),
            _ => Err(PortError::Unsupported("change this setting")),
        }
    }
}

impl Drop for AfXdp {
    fn drop(&mut self) {
        self.shut_down();
    }
}
