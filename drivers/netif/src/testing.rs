//! What tests of ports over the kernel's interfaces need: a network namespace of the test's own, interfaces in it, and plain
//! packet sockets at the other side. Needs root and `ip` (iproute2).

pub use crate::netlink::set_xdp;
use crate::{Interface, sys};
use nix::sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};
use nix::unistd::Pid;
use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    static ENTERED: OnceCell<Result<(), String>> = const { OnceCell::new() };
}

/// Puts this thread, and those that it starts from now on, into a network namespace of its own and onto one processor, once. The
/// namespace and what is in it go with its threads.
///
/// # Errors
/// Why it cannot.
pub fn enter() -> Result<(), String> {
    ENTERED.with(|entered| entered.get_or_init(make).clone())
}

fn make() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("no network namespace ({errno}): it needs root"))?;
    // Nobody else is to say anything: no router solicitations, no duplicate address detection.
    for all in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{all}/disable_ipv6"), "1");
    }
    stay().map_err(|errno| format!("no processor to stay on: {errno}"))?;
    ip("link set lo up")
}

/// A veth has a queue per processor: a sender that moves overtakes its own frames.
fn stay() -> nix::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)
}

/// Runs `ip` in this thread's namespace.
///
/// # Errors
/// What it said.
pub fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("no ip: {error}; apt-get install iproute2"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// A name that no other interface of this process's tests has.
pub fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Two interfaces that are one cable, both up, with this MTU.
///
/// # Errors
/// What `ip` said.
pub fn veth(mtu: u32) -> Result<[String; 2], String> {
    let [near, far] = [fresh("bl"), fresh("bl")];
    ip(&format!(
        "link add {near} mtu {mtu} type veth peer name {far} mtu {mtu}"
    ))?;
    for name in [&near, &far] {
        ip(&format!("link set {name} arp off up"))?;
    }
    Ok([near, far])
}

/// A packet socket: sends to an interface's wire, and receives what comes from it.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Of an interface by its name.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn open(name: &str) -> io::Result<Self> {
        let index = Interface::find(name).map_err(io::Error::other)?.index();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        let fd = socket.as_fd();
        sys::packet_option(fd, libc::PACKET_IGNORE_OUTGOING, 1)?;
        sys::packet_option(fd, libc::PACKET_QDISC_BYPASS, 1)?;
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20));
        sys::bind_packet(fd, index, true)?;
        Ok(Self(socket))
    }

    /// Sends a frame; false where there is no room for it.
    pub fn send(&self, frame: &[u8]) -> bool {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).is_ok()
    }

    /// The next frame, if there is one.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 1 << 16];
        // An error is told once: that the link went down, after which frames come again.
        let got = (0..2).find_map(|_| recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok())?;
        frame.truncate(got);
        Some(frame)
    }
}
