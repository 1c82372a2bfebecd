//! The port.

use crate::error::XdpError;
use crate::news::News;
use crate::options::{Mode, Options};
use crate::program::Filter;
use crate::redirect::Redirect;
use crate::refusal::refused;
use crate::start::Running;
use crate::umem::Umems;
use crate::zero_copy::Device;
use barline::pool::Custody;
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, check_mtu,
    longest_mtu,
};
use barline::telemetry::CounterSink;
use barline_netif::{Interface, LinkWatch, packet_membership, zero_copy};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
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
    /// As it was called when it was opened.
    pub(crate) name: String,
    pub(crate) interface: Interface,
    /// The device behind it.
    pub(crate) device: Device,
    pub(crate) caps: PortCaps,
    /// Checksums are to be finished: its frames may come from this machine's own stack.
    pub(crate) finishes: bool,
    /// Queues of the last start.
    pub(crate) last: Weak<Custody>,
    filter: Filter,
    /// Keeps the interface open for frames of others.
    ears: OwnedFd,
    /// Whether the interface was opened for all frames, and for all multicast frames.
    wide: (bool, bool),
    pub(crate) news: News,
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

/// A socket that receives nothing: for memberships.
fn packet_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
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
        let (interface, facts) = Interface::ethernet(&options.interface)?;
        let watch = LinkWatch::new().map_err(XdpError::os("listen to changes of interfaces (netlink)"))?;
        let index = interface.index().unsigned_abs();
        let ears = packet_socket().map_err(|errno| XdpError::os("open a packet socket")(errno.into()))?;
        // A driver that does not say how many it has, has one.
        let (rx, tx) = interface.queues().unwrap_or((1, 1));
        let (rx, tx) = (rx.max(1), tx.max(1));
        let left = |queues: u32| queues.checked_sub(options.queue).filter(|left| *left > 0);
        let (Some(rx_queues), Some(tx_queues)) = (left(rx), left(tx)) else {
            return Err(XdpError::NoQueue {
                interface: facts.name,
                queue: options.queue,
                queues: rx.min(tx),
            });
        };
        let filter = Filter {
            mac: facts.mac,
            promiscuous: false,
            all_multicast: false,
        };
        let redirect = umems.redirect((&facts.name, index), options.mode, &filter)?;
        let driver = interface.driver();
        let few = |queues: u32| u16::try_from(queues).unwrap_or(u16::MAX).min(1024);
        Ok(Self {
            running: None,
            redirect,
            umems: umems.clone(),
            options: options.clone(),
            index,
            caps: PortCaps {
                rx_queues: few(rx_queues),
                tx_queues: few(tx_queues),
                ring: (4, 1 << 15),
                mtu: facts.mtu,
                speed: interface.speed().unwrap_or(0),
                offloads: barline::offload::Offloads::empty(),
                vlans: false,
            },
            finishes: driver
                .as_ref()
                .is_some_and(|(driver, _)| STACKED.contains(&driver.as_str())),
            device: Device::new(
                driver.as_ref(),
                zero_copy(index).unwrap_or(None),
                Path::new("/sys"),
            ),
            name: facts.name,
            interface,
            last: Weak::new(),
            filter,
            ears,
            wide: (false, false),
            news: News::new(watch),
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
            (libc::PACKET_MR_PROMISC, promiscuous, self.wide.0),
            (libc::PACKET_MR_ALLMULTI, all_multicast, self.wide.1),
        ];
        for (kind, wanted, is) in steps {
            if wanted != is {
                let index = self.interface.index();
                packet_membership(self.ears.as_fd(), index, kind, wanted).map_err(|errno| {
                    refused("open the interface for frames of other stations", &errno.into())
                })?;
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
        let running = self.running.as_ref().ok_or(PortError::State("not started"))?;
        check_mtu(mtu, longest_mtu(self.caps.mtu, running.room as usize))?;
        running.limit.set(mtu + 18);
        Ok(())
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
        self.interface.link()
    }

    fn mode(&self) -> Option<String> {
        let (mode, native) = self.got()?;
        let copies = match self
            .running
            .as_ref()
            .and_then(|running| running.hindrance.as_ref())
        {
            _ if mode == Mode::ZeroCopy => "zero copy".to_owned(),
            Some(why) if self.options.mode == Mode::Auto => format!("copy (no zero copy: {why})"),
            _ => "copy".to_owned(),
        };
        let place = match native {
            true => "program in the driver",
            false => "program behind the driver (SKB mode)",
        };
        Some(format!("{copies}, {place}"))
    }

    fn counters(&mut self, out: &mut dyn CounterSink) {
        for (name, value) in COUNTERS.iter().zip(self.read()) {
            out.counter(name, value);
        }
    }

    fn event(&mut self) -> Option<PortEvent> {
        self.look()
    }

    fn reason(&self) -> Option<String> {
        self.news.reason()
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

#[cfg(test)]
mod tests;
