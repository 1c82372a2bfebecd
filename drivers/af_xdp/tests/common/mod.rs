//! A network namespace of the test's own, and pairs of interfaces in it: one end for the port, one for the test.
#![allow(dead_code, reason = "each test uses its part")]

use barline::port::{Port, PortConfig, PortError};
use barline_af_xdp::{AfXdp, Mode, Options, Umems, XdpError};
use barline_conformance::{FarEnd, Lane, Station, Subject, pool};
use barline_netif::program_on;
use barline_netif::testing::{self, RawSocket};
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    if let Err(error @ XdpError::NoSupport(_)) = AfXdp::open(&Options::new("no interface"), &Umems::default())
    {
        return lacks(&error.to_string());
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return lacks("no ip command: apt install iproute2");
    }
    true
}

/// Runs ip(8).
pub fn ip(words: &str) {
    testing::ip(words).unwrap();
}

/// The calling thread, and those that it starts, are in a namespace of their own. It goes with them.
pub fn enter() {
    testing::enter().unwrap();
}

/// Ports in a namespace of the test's own. None where the test cannot run.
pub fn pairs() -> Option<Pairs> {
    able().then(|| {
        enter();
        Pairs::new()
    })
}

/// A pair of interfaces with so many queues, in a namespace of the test's own. None where the test cannot run.
pub fn pair(queues: u16) -> Option<Arc<Pair>> {
    pairs().map(|_| Pair::new(1500, queues))
}

/// A port that is started on a pair.
pub fn lane(pair: &Arc<Pair>, change: impl FnOnce(&mut PortConfig)) -> Lane {
    Lane::at(
        Pairs::new().station(pair.clone(), &Umems::default()),
        &pool(2048),
        change,
    )
}

/// A pair of interfaces.
pub struct Pair {
    /// The port's.
    pub near: String,
    /// The test's.
    pub far: String,
    socket: RawSocket,
    removed: AtomicBool,
    /// A port is expected to be open.
    pub open: AtomicBool,
}

impl Pair {
    pub fn new(mtu: u32, queues: u16) -> Arc<Self> {
        let (near, far) = (testing::fresh("near"), testing::fresh("far"));
        let shape = format!("mtu {mtu} numrxqueues {queues} numtxqueues {queues}");
        ip(&format!(
            "link add {near} {shape} type veth peer name {far} {shape}"
        ));
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
        let socket = RawSocket::open(&far).unwrap();
        Arc::new(Self {
            near,
            far,
            socket,
            removed: AtomicBool::new(false),
            open: AtomicBool::new(false),
        })
    }

    /// The interface went with something else.
    pub fn was_removed(&self) -> bool {
        !self.removed.swap(true, Ordering::Relaxed)
    }
}

impl FarEnd for Pair {
    fn inject(&self, frame: &[u8]) -> bool {
        // Once after the link was down the socket says so, although it is up.
        self.socket.send(frame) || self.socket.send(frame)
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.socket.receive()
    }

    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        if self.removed.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // A process that another test is starting has all descriptors, until it has started.
        let end = Instant::now() + Duration::from_secs(30);
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

impl Pairs {
    /// A port on a pair.
    pub fn station(&self, pair: Arc<Pair>, umems: &Umems) -> Station {
        let (options, umems) = (self.options(&pair.near), umems.clone());
        let open = move || {
            let port = AfXdp::open(&options, &umems).map_err(|error| PortError::Lacks(error.to_string()))?;
            Ok(Box::new(port) as Box<dyn Port>)
        };
        Station {
            open: Box::new(open),
            far: pair,
        }
    }
}

impl Subject for Pairs {
    fn bench(&self, ports: usize) -> Vec<Station> {
        let umems = Umems::default();
        (0..ports)
            .map(|_| self.station(Pair::new(self.mtu, self.queues), &umems))
            .collect()
    }
}
