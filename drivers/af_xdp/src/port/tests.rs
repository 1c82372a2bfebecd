//! What other programs can do to ours while a port is open, by the calls of bpf(2) and rtnetlink(7) that tools make.

use super::*;
use crate::news::LOOK;
use crate::program::redirect;
use crate::sys::bpf;
use barline::pool::{Batch, Pool, PoolCache};
use barline_netif::program_on;
use barline_netif::testing::{RawSocket, enter, set_xdp, veth};
use nix::errno::Errno;
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A started port, and the other end of its cable.
struct Up {
    near: String,
    far: RawSocket,
    port: AfXdp,
    queues: Queues,
    pool: Pool,
    cache: PoolCache,
    batch: Batch,
}

impl Up {
    /// None, and why, where that is not possible.
    fn new() -> Option<Self> {
        let skipped = |why: String| {
            eprintln!("SKIPPED: {why}");
            None
        };
        if let Err(why) = enter() {
            return skipped(why);
        }
        let [near, far] = veth(1500).unwrap();
        let mut port = match AfXdp::open(&Options::new(&near), &Umems::default()) {
            Err(XdpError::NoSupport(what)) => return skipped(format!("no {what}")),
            opened => opened.unwrap(),
        };
        let pool = Pool::builder().packets(2048).build().unwrap();
        let config = PortConfig {
            promiscuous: true,
            ..PortConfig::new(&pool)
        };
        let queues = port.start(&config).unwrap();
        let (cache, batch, far) = (pool.cache(), Batch::new(), RawSocket::open(&far).unwrap());
        let mut up = Self {
            near,
            far,
            port,
            queues,
            pool,
            cache,
            batch,
        };
        up.hears();
        Some(up)
    }

    /// A frame comes, and nothing is to be told.
    fn hears(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.queues.rx[0].receive(&mut self.cache, &mut self.batch) == 0 {
            assert!(Instant::now() < end, "no frame");
            self.far.send(&[7; 60]);
        }
        self.cache.free(&mut self.batch);
        self.port.news.looked -= LOOK;
        assert_eq!((self.port.event(), self.port.reason()), (None, None));
    }

    /// The port says that it was taken over, why, and goes on saying so. Its reason.
    fn is_taken(&mut self) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        while self.port.event() != Some(PortEvent::Taken) {
            assert!(Instant::now() < end, "it is not told");
            sleep(Duration::from_millis(10));
        }
        assert_eq!(self.port.event(), Some(PortEvent::Taken), "it stays so");
        self.port.reason().expect("a reason")
    }

    /// The link of its program, as another program gets it.
    fn link(&self) -> OwnedFd {
        bpf::link_by_id(bpf::id(self.port.redirect.link()).unwrap()).unwrap()
    }

    /// Stops and closes the port: nothing is lost. The interface.
    fn end(self) -> String {
        let Self {
            near,
            mut port,
            queues,
            pool,
            mut cache,
            ..
        } = self;
        port.stop(queues).unwrap();
        drop(port);
        cache.flush();
        assert_eq!(pool.available(), pool.packets());
        near
    }
}

/// Another program of the same kind, of somebody else.
fn stranger(port: &AfXdp) -> OwnedFd {
    let map = bpf::socket_map(4).unwrap();
    bpf::load(&redirect(map.as_raw_fd(), &port.filter), true).unwrap()
}

/// The kernel tells nobody: the port says so, once it looks.
#[test]
fn a_program_that_is_taken_off_ends_the_run() {
    let Some(mut up) = Up::new() else { return };
    bpf::detach(up.link().as_fd()).unwrap();
    let reason = up.is_taken();
    assert!(
        reason.contains(&up.near)
            && reason.contains("was taken off")
            && reason.contains("open the port again"),
        "{reason}"
    );
    let error = up.port.set(Change::Promiscuous(false)).unwrap_err();
    assert!(error.to_string().contains("was taken off"), "{error}");
    let near = up.end();
    assert_eq!(program_on(&near).unwrap(), None);
    AfXdp::open(&Options::new(&near), &Umems::default()).expect("it can be opened again");
}

/// By a descriptor of our link: the only way. What somebody else has put there is left to them.
#[test]
fn a_program_that_another_one_replaces_ends_the_run() {
    let Some(mut up) = Up::new() else { return };
    let (link, other) = (up.link(), stranger(&up.port));
    let id = bpf::id(other.as_fd()).unwrap();
    let ours = up.port.redirect.program_fd();
    bpf::replace(link.as_fd(), other.as_fd(), ours.as_fd()).unwrap();
    let reason = up.is_taken();
    let remedy = format!("bpftool prog show id {id}");
    assert!(
        reason.contains(&up.near) && reason.contains("another XDP program") && reason.contains(&remedy),
        "{reason}"
    );
    let error = up.port.set(Change::AllMulticast(true)).unwrap_err();
    assert!(error.to_string().contains(&remedy), "{error}");
    assert_eq!(program_on(&up.near).unwrap(), Some(id), "theirs is not replaced");
    let near = up.end();
    assert_eq!(program_on(&near).unwrap(), Some(id));
    drop(link);
    assert_eq!(program_on(&near).unwrap(), None, "nobody holds it any more");
}

/// Whoever has our link open does not keep our program attached.
#[test]
fn a_program_goes_although_its_link_is_held() {
    let Some(up) = Up::new() else { return };
    let held = up.link();
    let near = up.end();
    assert_eq!(program_on(&near).unwrap(), None);
    drop(held);
}

/// `ip link set dev X xdp ...` with and without force: the kernel protects a program that a link attaches.
#[test]
fn a_program_is_not_replaced_by_netlink() {
    const MODES: [(u32, bool); 3] = [(0, true), (1 << 2, true), (1 << 1, false)];
    const UNLESS_THERE: u32 = 1;
    let Some(mut up) = Up::new() else { return };
    let other = stranger(&up.port);
    for fd in [-1, other.as_raw_fd()] {
        for (mode, has_ours) in MODES {
            for force in [0, UNLESS_THERE] {
                let done = set_xdp(up.port.index, fd, mode | force);
                let refused = matches!(done, Err(Errno::EBUSY | Errno::EEXIST));
                // Off, where there is none of that mode, is done at once.
                assert!(
                    refused || !has_ours && fd < 0 && done.is_ok(),
                    "{fd} {mode}: {done:?}"
                );
                up.hears();
            }
        }
    }
    assert_eq!(program_on(&up.end()).unwrap(), None);
}
