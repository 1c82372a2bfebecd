//! A network namespace of the test's own, and pairs of interfaces in it: one end for the port, one for the test.
#![allow(dead_code, reason = "each test uses its part")]

use barline::port::{Port, PortError};
use barline_af_xdp::{AfXdp, Mode, Options, Umems, program_on};
use barline_conformance::{FarEnd, Station, Subject};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Whether the test can run: with the rights for it, on a kernel that has what it needs.
pub fn able() -> bool {
    let lacks = |why: &str| {
        eprintln!("SKIPPED: {why}");
        false
    };
    if !nix::unistd::geteuid().is_root() {
        return lacks("not root: no network namespaces");
    }
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return lacks("this kernel has no AF_XDP sockets");
    }
    // SAFETY: fresh, and ours alone.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    if Command::new("ip").arg("-V").output().is_err() {
        return lacks("no ip command: apt install iproute2");
    }
    true
}

/// Runs ip(8).
pub fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("ip runs");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The calling thread, and those that it starts, are in a namespace of their own. It goes with them.
pub fn enter() {
    // SAFETY: no pointers.
    assert_eq!(
        unsafe { libc::unshare(libc::CLONE_NEWNET) },
        0,
        "{}",
        io::Error::last_os_error()
    );
    // Nobody but the test sends frames.
    for who in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{who}/disable_ipv6"), "1");
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A pair of interfaces.
pub struct Pair {
    /// The port's.
    pub near: String,
    /// The test's.
    pub far: String,
    socket: OwnedFd,
    removed: AtomicBool,
    /// A port is expected to be open.
    pub open: AtomicBool,
}

impl Pair {
    pub fn new(mtu: u32, queues: u16) -> Arc<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (format!("near{n}"), format!("far{n}"));
        let shape = format!("mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        ip(&format!(
            "link add {near} {shape} type veth peer name {far} {shape}"
        ));
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
        let socket = listen(&far);
        Arc::new(Self {
            near,
            far,
            socket,
            removed: AtomicBool::new(false),
            open: AtomicBool::new(false),
        })
    }
}

/// A raw socket that sees what comes to an interface.
fn listen(name: &str) -> OwnedFd {
    let index = nix::net::if_::if_nametoindex(name).unwrap();
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        )
    };
    assert!(fd >= 0);
    // SAFETY: fresh, and ours alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let set = |level, name, value: i32| {
        // SAFETY: the value outlives the call.
        let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    };
    set(libc::SOL_PACKET, 23, 1); // PACKET_IGNORE_OUTGOING
    set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20);
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    (address.sll_family, address.sll_protocol, address.sll_ifindex) =
        (libc::AF_PACKET as u16, all, index as i32);
    // SAFETY: the address outlives the call, its length is its own.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    fd
}

impl FarEnd for Pair {
    fn inject(&self, frame: &[u8]) -> bool {
        let send = || {
            // SAFETY: the frame outlives the call.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent < 0 {
                io::Error::last_os_error().raw_os_error()
            } else {
                None
            }
        };
        // Once after the link was down the socket says so, although it is up. If it is down the frame goes nowhere.
        match send() {
            Some(libc::ENETDOWN) => matches!(send(), None | Some(libc::ENETDOWN)),
            error => error.is_none(),
        }
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 1 << 16];
        // SAFETY: the buffer outlives the call.
        let got = unsafe { libc::recv(self.socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        usize::try_from(got).ok().map(|len| {
            frame.truncate(len);
            frame
        })
    }

    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        if self.removed.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // A process that another test is starting has all descriptors, until it has started.
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match program_on(&self.near).expect("the interface is there") {
                None => return Vec::new(),
                Some(_) if Instant::now() < end => sleep(Duration::from_millis(1)),
                Some(id) => return vec![format!("program {id} is still on {}", self.near)],
            }
        }
    }

    fn set_link(&self, up: bool) -> bool {
        ip(&format!(
            "link set {} {}",
            self.far,
            if up { "up" } else { "down" }
        ));
        true
    }

    fn remove(&self) -> bool {
        self.removed.store(true, Ordering::Relaxed);
        ip(&format!("link del {}", self.near));
        true
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.removed.load(Ordering::Relaxed) {
            let gone = Command::new("ip")
                .args(["link", "del", &self.near])
                .stderr(Stdio::null())
                .status();
            let _ = gone; // the namespace goes too
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({}, {})", self.near, self.far)
    }
}

/// Ports on pairs.
pub struct Pairs {
    pub mtu: u32,
    pub queues: u16,
    pub mode: Mode,
    pub busy_poll: Option<u16>,
}

impl Pairs {
    pub fn new() -> Self {
        Self {
            // Longer frames than the suite's ports take do come.
            mtu: 1900,
            queues: 1,
            mode: Mode::Auto,
            busy_poll: None,
        }
    }

    pub fn options(&self, interface: &str) -> Options {
        Options {
            mode: self.mode,
            busy_poll: self.busy_poll,
            ..Options::new(interface)
        }
    }
}

impl Subject for Pairs {
    fn bench(&self, ports: usize) -> Vec<Station> {
        let umems = Umems::default();
        let station = |_| {
            let pair = Pair::new(self.mtu, self.queues);
            let (options, umems) = (self.options(&pair.near), umems.clone());
            let open = move || {
                let port =
                    AfXdp::open(&options, &umems).map_err(|error| PortError::Lacks(error.to_string()))?;
                Ok(Box::new(port) as Box<dyn Port>)
            };
            Station {
                open: Box::new(open),
                far: pair,
            }
        };
        (0..ports).map(station).collect()
    }
}
