//! What the port asks of the kernel about its interface.

use crate::attach::attach;
use crate::port::{MOST_MTU, Running, VNET};
use crate::{Tap, TapError};
use barline::port::{PortConfig, PortError};
use barline_netif::{Ifreq, Request, request};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Whether the interface stays when nobody has a queue of it: `ip tuntap add` made it.
pub(crate) fn is_kept(queue: &File) -> bool {
    let mut argument = Ifreq::number("", 0);
    let asked = request(queue.as_fd(), Request::TunGet, &mut argument);
    asked.is_ok() && argument.flags() & libc::IFF_PERSIST != 0
}

impl Tap {
    /// Whether the interface is still there: here, or in another network namespace, where it can be moved to and works on.
    pub(crate) fn is_there(&self) -> bool {
        let mut argument = Ifreq::number("", 0);
        request(self.first.as_fd(), Request::TunGet, &mut argument).is_ok()
    }

    /// Its MTU, the kernel's queue of frames for us, and up. The interface is ours: nothing of it stays.
    pub(crate) fn set_up(&self, config: &PortConfig) -> io::Result<()> {
        self.ask(Request::SetMtu, config.mtu)?;
        self.ask(Request::SetQueueLength, config.rx_ring)?;
        let flags = self.ask(Request::Flags, 0)?.flags() | libc::IFF_UP;
        self.ask(Request::SetFlags, flags as u32).map(drop)
    }

    /// Asks about the interface, under the name that it has now.
    fn ask(&self, what: Request, number: u32) -> io::Result<Ifreq> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        let facts = self.interface.facts();
        let name = facts.map_or_else(|_| self.name.clone(), |facts| facts.name);
        let mut argument = Ifreq::number(&name, number as i32);
        request(socket.as_fd(), what, &mut argument).map(|()| argument)
    }

    /// The kernel's side too. One in another namespace keeps what it has.
    pub(crate) fn set_mtu(&self, running: &Running, mtu: u32) -> Result<(), PortError> {
        let run = &running.shared.run;
        run.check_mtu(mtu)?;
        if self.interface.is_there() {
            let refused = |errno| PortError::Config(format!("tap:{}: MTU {mtu}: {errno}", self.name));
            self.ask(Request::SetMtu, mtu).map_err(refused)?;
        }
        run.set_mtu(mtu)
    }

    /// Frames from before the start are of no interest.
    pub(crate) fn drain(&self, most: u32) {
        let mut frame = vec![0; VNET + MOST_MTU as usize + 18];
        for _ in 0..2 * most {
            if (&*self.first).read(&mut frame).is_err() {
                return;
            }
        }
    }

    pub(crate) fn files(&self, queues: u16) -> Result<Vec<Arc<File>>, TapError> {
        let more = (1..queues).map(|_| attach(&self.name).map(Arc::new));
        std::iter::once(Ok(self.first.clone())).chain(more).collect()
    }
}
