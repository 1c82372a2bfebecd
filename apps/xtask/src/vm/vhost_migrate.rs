//! A guest moves from one QEMU to another while its NIC, a vhost-user port of l2fwd, is at work: each QEMU has an l2fwd of its
//! own, as two machines would, and a bridge joins them.

use super::capture::{Capture, Shape};
use super::files::Files;
use super::qemu::{Check, Running, Vm};
use super::scenario::Bed;
use super::vhost::{Host, arguments, port, ring};
use super::vhost_iperf::Beyond;
use crate::host::need_packages;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Bytes of the file: a copy or two while memory moves.
const FILE: u64 = 48 << 20;
/// Bytes a second of memory that move at most, so that frames arrive meanwhile.
const BANDWIDTH: &str = "60M";
/// Milliseconds that the guest may stand still: marked pages must be few enough for that.
const DOWNTIME: &str = "1000";
/// Frames that each l2fwd must have forwarded.
const FRAMES: u64 = 1_000;
/// Copies that must arrive whole at either place.
const COPIES: u64 = 2;

/// What both guests reach: a bridge with the address, and a file server.
struct Network {
    // In this order: programs end before their namespace goes.
    files: Files,
    beyond: Beyond,
}

impl Network {
    fn new(bed: &Bed<'_>) -> Result<Self> {
        let beyond = Beyond::new()?;
        beyond.space.ip(&["link", "add", "bridge0", "type", "bridge"])?;
        beyond.address("bridge0")?;
        Ok(Self {
            files: Files::serve(bed, &beyond.space, FILE)?,
            beyond,
        })
    }

    /// An l2fwd that joins a guest to the bridge, and the socket for the guest.
    fn join(&self, bed: &Bed<'_>, name: &str, options: &str) -> Result<(Host, PathBuf)> {
        let socket = self.files.dir().join(name);
        let ports = [port(&socket, options), format!("tap:{name}")];
        let (log, space) = (format!("l2fwd-{name}"), Some(&self.beyond.space));
        let sockets = std::slice::from_ref(&socket);
        let host = Host::start(bed, &log, &ports, sockets, space, Shape::Whole)?;
        self.beyond
            .patiently(&["link", "set", name, "master", "bridge0"])?;
        self.beyond.space.ip(&["link", "set", name, "up"])?;
        Ok((host, socket))
    }
}

/// Who says where the guest is now: its driver (gratuitous ARP), or our port for a driver that cannot (RARP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcer {
    Guest,
    Port,
}

impl Announcer {
    /// QEMU's words for it.
    fn option(self) -> &'static str {
        match self {
            Self::Guest => ",guest_announce=on",
            Self::Port => ",guest_announce=off",
        }
    }

    /// What passes no other frames.
    fn filter(self) -> &'static str {
        match self {
            Self::Guest => "arp and ether src 52:54:00:00:00:01 and arp[14:4] = arp[24:4]",
            Self::Port => "rarp and ether src 52:54:00:00:00:01",
        }
    }
}

/// Copies before, one or more on the way, and copies after; `options` are those of both ports.
pub fn run(bed: &Bed<'_>, options: &str, packed: bool, announcer: Announcer) -> Result<Vec<Check>> {
    need_packages(&["tcpdump"])?;
    let network = Network::new(bed)?;
    let (here, near) = network.join(bed, "here", options)?;
    let (there, away) = network.join(bed, "there", options)?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost-migrate.sh"));
    vm.modules = vec!["virtio_net".to_owned()];
    (vm.huge_pages, vm.memory) = (0, 512);
    vm.settings = vec![("SUM".to_owned(), network.files.sum.clone())];
    let mut target = vm.clone();
    let nic = format!("{}{}", ring(packed), announcer.option());
    vm.arguments = arguments(&[near], vm.memory, &[nic.as_str()]);
    target.arguments = arguments(&[away], vm.memory, &[nic.as_str()]);
    let road = network.files.dir().join("road");
    let incoming = ["-incoming".to_owned(), format!("unix:{}", road.display())];
    target.arguments.extend(incoming);
    let dir = bed.dir.join("target");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let before = copies(&mut guest)?;
    let mut moved = target.start(bed.tools, &dir)?;
    let capture = Capture::of(&network.beyond.space, "there", announcer.filter())?;
    let told = migrate(&guest, &road)?;
    let mut checks = guest.leave();
    // The one that was on its way, and later ones.
    let first = copies_from(&mut moved)?;
    while copies_from(&mut moved)?[0] < first[0] + COPIES {}
    moved.tell("stop")?;
    checks.extend(announced(capture, &dir)?);
    let counts = moved.wait_for("COPIES")?;
    moved.wait_for("DONE")?;
    checks.push(Check::new("migrated", true, told));
    checks.push(Check::new(
        "copies",
        counts.ends_with(" 0"),
        format!("{counts} good and bad, {before} of them before"),
    ));
    checks.extend(moved.finish()?);
    checks.extend(here.end(FRAMES)?);
    checks.extend(there.end(FRAMES)?);
    fs::remove_file(dir.join("initrd.cpio")).ok();
    Ok(checks)
}

/// The network was told, and QEMU has nothing to say about it.
fn announced(capture: Capture, dir: &Path) -> Result<[Check; 2]> {
    let text = capture.text()?;
    let lines = text.lines().filter(|line| line.contains("ARP")).count();
    let complaints = fs::read_to_string(dir.join("qemu.log")).context("QEMU's messages")?;
    let complaints = complaints.trim().replace('\n', " ");
    Ok([
        Check::new("announced", lines > 0, format!("{lines} frames")),
        Check::new("no-complaint", complaints.is_empty(), complaints),
    ])
}

/// Waits until some copies are there.
fn copies(guest: &mut Running) -> Result<u64> {
    loop {
        let [good, _] = copies_from(guest)?;
        if good >= COPIES {
            return Ok(good);
        }
    }
}

/// Copies so far, good and bad, when the next one is there.
fn copies_from(guest: &mut Running) -> Result<[u64; 2]> {
    let said = guest.wait_for("COPY")?;
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [_, bad] if bad > 0 => bail!("a copy is damaged: {said}"),
        [good, bad] => Ok([good, bad]),
        _ => bail!("no count of copies: {said}"),
    }
}

/// Moves the guest; what QEMU says of it.
fn migrate(guest: &Running, road: &Path) -> Result<String> {
    // The other QEMU takes a moment to listen.
    for _ in 0..3000 {
        if road.exists() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let mut monitor = guest.monitor()?;
    monitor.order(&format!("migrate_set_parameter max-bandwidth {BANDWIDTH}"))?;
    monitor.order(&format!("migrate_set_parameter downtime-limit {DOWNTIME}"))?;
    monitor.order(&format!("migrate -d unix:{}", road.display()))?;
    // A busy machine may take minutes.
    for _ in 0..1200 {
        let said = monitor.human("info migrate")?;
        let line = |name: &str| {
            let found = said.lines().find(|line| line.trim_start().starts_with(name));
            found.unwrap_or_default().trim().to_owned()
        };
        if said.contains("status: completed") {
            let names = ["total time", "downtime", "dirty sync count", "transferred ram"];
            return Ok(names.map(line).join(", "));
        }
        if said.contains("status: failed") {
            bail!("QEMU does not move the guest: {said}");
        }
        sleep(Duration::from_millis(100));
    }
    bail!(
        "the guest's memory does not settle: {}",
        monitor.human("info migrate")?
    )
}
