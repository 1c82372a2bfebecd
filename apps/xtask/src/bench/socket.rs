//! Two programs at the ends of a vhost-user socket, each on a core of its own. One is what is compared, DPDK's or ours; the other
//! is always the same testpmd of Debian's, and its counters are what is read. Both are frozen between windows.

use super::Interrupt;
use super::dpdk::Peer;
use super::ours::Ours;
use super::program::Program;
use super::side::{Cores, Counted, Sample, Side, WARM, Work};
use super::telemetry::Telemetry;
use super::work;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The end that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The driver side.
    VirtioUser,
    /// The back end.
    Vhost,
}

/// Format of the rings, and the features that both ends agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Split, mergeable buffers.
    Split,
    /// Packed, mergeable buffers.
    Packed,
    /// Packed, in order, buffers not mergeable: what DPDK's vectorised driver wants.
    PackedInOrder,
}

/// Where frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The end that is compared makes and sends them.
    Out,
    /// It receives and frees them.
    In,
    /// Both send what they receive.
    Loop,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketTask {
    /// The end that is compared.
    pub end: End,
    /// The rings.
    pub ring: Ring,
    /// The frames' way.
    pub flow: Flow,
}

/// Who is compared.
pub enum Tested<'a> {
    /// barline.
    Ours(&'a Ours),
    /// A build of DPDK.
    Peer(&'a Peer),
}

impl SocketTask {
    fn mode(self) -> &'static str {
        match self.flow {
            Flow::Out => "txonly",
            Flow::In => "rxonly",
            Flow::Loop => "io",
        }
    }

    /// What the end that is not compared does.
    fn other_mode(self) -> &'static str {
        match self.flow {
            Flow::Out => "rxonly",
            Flow::In => "txonly",
            Flow::Loop => "io",
        }
    }

    /// Our port.
    fn port(self, socket: &Path) -> String {
        let socket = socket.display();
        match (self.end, self.ring) {
            (End::Vhost, _) => format!("vhost-user:{socket}"),
            (End::VirtioUser, Ring::Split) => format!("virtio-user:{socket},packed=off,mrg=on"),
            (End::VirtioUser, Ring::Packed) => format!("virtio-user:{socket},mrg=on"),
            (End::VirtioUser, Ring::PackedInOrder) => format!("virtio-user:{socket}"),
        }
    }
}

/// DPDK's name and arguments for an end.
fn vdev(end: End, ring: Ring, socket: &Path) -> String {
    let socket = socket.display();
    match (end, ring) {
        (End::Vhost, _) => format!("net_vhost0,iface={socket},queues=1"),
        (End::VirtioUser, ring) => {
            let features = match ring {
                Ring::Split => "packed_vq=0,mrg_rxbuf=1,in_order=0",
                Ring::Packed => "packed_vq=1,mrg_rxbuf=1,in_order=0",
                Ring::PackedInOrder => "packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1",
            };
            format!("net_virtio_user0,path={socket},queues=1,queue_size=256,{features}")
        }
    }
}

/// Both ends, joined.
#[derive(Debug)]
pub struct Joined {
    fixed: Counted,
    tested: Program,
    /// Whether it is a testpmd too.
    is_peer: bool,
    /// The socket's, and what DPDK keeps at run time; they go after the programs.
    _runtimes: [TempDir; 2],
}

/// Starts both ends and waits until frames pass.
pub fn start(
    task: SocketTask,
    name: &str,
    tested: &Tested<'_>,
    fixed: &Peer,
    cores: Cores,
    dir: &Path,
    interrupt: &Interrupt,
) -> Result<Box<dyn Side>> {
    let runtime = tempfile::Builder::new()
        .prefix("barline-")
        .tempdir()
        .context("cannot make a directory for sockets")?;
    let socket = runtime.path().join("socket");
    let who = match tested {
        Tested::Ours(_) => "barline",
        Tested::Peer(peer) => &peer.name,
    };
    let log = |end: &str| dir.join(format!("{name}-{who}-{end}.log"));
    let launch = |end: End| -> Result<(Program, TempDir)> {
        if end != task.end {
            let vdev = vdev(end, task.ring, &socket);
            return fixed.interactive(&vdev, cores.other, &log("fixed"), interrupt);
        }
        match tested {
            Tested::Peer(peer) => {
                let vdev = vdev(end, task.ring, &socket);
                peer.interactive(&vdev, cores.poller, &log("tested"), interrupt)
            }
            Tested::Ours(ours) => {
                let port = task.port(&socket);
                let program = ours.port(&port, task.mode(), cores.poller, &log("tested"), interrupt)?;
                Ok((program, tempfile::tempdir()?))
            }
        }
    };
    // The back end first: it listens.
    let mut back = launch(End::Vhost)?;
    wait_for_socket(&socket, &mut back.0)?;
    let front = launch(End::VirtioUser)?;
    let ((mut tested_program, tested_runtime), (mut fixed_program, fixed_runtime)) = match task.end {
        End::Vhost => (back, front),
        End::VirtioUser => (front, back),
    };
    let telemetry = telemetry(&mut fixed_program, &fixed_runtime)?;
    if let Tested::Peer(_) = tested {
        tested_program.tell(&format!("set fwd {}", task.mode()))?;
        tested_program.tell("start")?;
    }
    fixed_program.tell(&format!("set fwd {}", task.other_mode()))?;
    wait_for_link(&telemetry, &mut tested_program)?;
    get_going(&mut fixed_program, &telemetry, task.flow)?;
    // What it counts is what has passed the rings: received, or put into them.
    let sends = task.flow == Flow::In;
    let fixed = Counted::with_ports(fixed_program, fixed_runtime, sends, 1)?;
    tested_program.prefer();
    tested_program.freeze()?;
    Ok(Box::new(Joined {
        fixed,
        tested: tested_program,
        is_peer: matches!(tested, Tested::Peer(_)),
        _runtimes: [runtime, tested_runtime],
    }))
}

/// Longest time for an end to get ready.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

fn wait_for_socket(socket: &Path, program: &mut Program) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !socket.exists() {
        if program.has_ended() || Instant::now() > end {
            bail!("the back end does not listen: {}", program.complaint());
        }
        sleep(LOOK);
    }
    Ok(())
}

fn telemetry(program: &mut Program, runtime: &TempDir) -> Result<Telemetry> {
    let socket = Telemetry::socket(runtime.path());
    let end = Instant::now() + PATIENCE;
    loop {
        match Telemetry::connect(&socket) {
            Ok(telemetry) => return Ok(telemetry),
            Err(error) if program.has_ended() || Instant::now() > end => {
                return Err(error).with_context(|| program.complaint());
            }
            Err(_) => sleep(LOOK),
        }
    }
}

fn wait_for_link(telemetry: &Telemetry, tested: &mut Program) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !telemetry.is_link_up(0)? {
        if tested.has_ended() || Instant::now() > end {
            bail!("the two ends do not meet: {}", tested.complaint());
        }
        sleep(LOOK);
    }
    Ok(())
}

/// Frames after which both ends are at work: many times those that a loop begins with.
const AT_WORK: u64 = 10_000;
const TRIES: u32 = 10;

/// Starts the fixed end, again until frames pass: those that a loop begins with are lost where rings are enabled after
/// the link has come up.
fn get_going(fixed: &mut Program, telemetry: &Telemetry, flow: Flow) -> Result<()> {
    for _ in 0..TRIES {
        fixed.tell(match flow {
            Flow::Loop => "start tx_first 8",
            _ => "start",
        })?;
        sleep(LOOK * 25);
        let packets = telemetry.packets(1)?;
        if packets.received.max(packets.sent) > AT_WORK {
            return Ok(());
        }
        fixed.tell("stop")?;
    }
    bail!("no frames pass: {}", fixed.complaint())
}

impl Joined {
    fn measure(&mut self, length: Duration) -> Result<Sample> {
        sleep(WARM);
        work::begin(self.fixed.program())?;
        let ours = match self.is_peer {
            true => work::begin(&mut self.tested).map(|()| None),
            false => work::ours(&mut self.tested).map(Some),
        }?;
        let before = self.tested.times();
        let sample = self.fixed.measure(length)?;
        let stolen = self.tested.times().stolen_since(&before, length);
        let own = match ours {
            None => work::of_testpmd(&mut self.tested)?,
            Some(before) => work::ours(&mut self.tested)?.since(before),
        };
        let other = work::of_testpmd(self.fixed.program())?;
        // Of what passed, each packet once: what the two count began and ended a little before and after it.
        let share = |cycles: f64| cycles * sample.packets as f64 / (sample.nanos * other.ghz());
        let cycles = own.a_packet();
        Ok(Sample {
            stolen: sample.stolen.max(stolen),
            work: cycles.zip(other.a_packet()).map(|(cycles, others)| Work {
                cycles,
                share: share(cycles),
                other: share(others),
            }),
            ..sample
        })
    }
}

impl Side for Joined {
    fn window(&mut self, length: Duration) -> Result<Sample> {
        self.tested.thaw()?;
        self.fixed.program().thaw()?;
        let sample = self.measure(length);
        self.fixed.program().freeze()?;
        self.tested.freeze()?;
        sample
    }
}
