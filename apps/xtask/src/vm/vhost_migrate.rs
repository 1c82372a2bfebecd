//! A guest moves from one QEMU to another while its NIC, a vhost-user port of l2fwd, is at work: each QEMU has an l2fwd of its
//! own, as two machines would, and a bridge joins them.

use super::qemu::{Check, Running, Vm};
use super::scenario::Bed;
use super::vhost::{Host, arguments, port};
use super::vhost_iperf::Beyond;
use crate::cmd;
use crate::netns::world::Running as Program;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

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
    _server: Program,
    beyond: Beyond,
    dir: TempDir,
    sum: String,
}

impl Network {
    fn new(bed: &Bed<'_>) -> Result<Self> {
        let beyond = Beyond::new()?;
        // Names of sockets must be short.
        let dir = tempfile::tempdir().context("cannot make a directory")?;
        let file = dir.path().join("file");
        let mut random = File::open("/dev/urandom")?.take(FILE);
        std::io::copy(&mut random, &mut File::create(&file)?).context("cannot make a file")?;
        let said = cmd::text(Command::new("sha256sum").arg(&file))?;
        let sum = said.split_whitespace().next().unwrap_or_default().to_owned();
        beyond.space.ip(&["link", "add", "bridge0", "type", "bridge"])?;
        beyond.address("bridge0")?;
        let mut serve = beyond.space.command(&bed.tools.busybox);
        serve.args(["httpd", "-f", "-p", "7000", "-h"]).arg(dir.path());
        serve.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self {
            _server: Program::start(&mut serve)?,
            beyond,
            dir,
            sum,
        })
    }

    /// An l2fwd that joins a guest to the bridge, and the socket for the guest.
    fn join(&self, bed: &Bed<'_>, name: &str, options: &str) -> Result<(Host, PathBuf)> {
        let socket = self.dir.path().join(name);
        let ports = [port(&socket, options), format!("tap:{name}")];
        let (log, space) = (format!("l2fwd-{name}"), Some(&self.beyond.space));
        let host = Host::start(bed, &log, &ports, std::slice::from_ref(&socket), space)?;
        self.beyond
            .patiently(&["link", "set", name, "master", "bridge0"])?;
        self.beyond.space.ip(&["link", "set", name, "up"])?;
        Ok((host, socket))
    }
}

/// Copies before, one or more on the way, and copies after; `options` are those of both ports.
pub fn run(bed: &Bed<'_>, options: &str, packed: bool) -> Result<Vec<Check>> {
    let network = Network::new(bed)?;
    let (here, near) = network.join(bed, "here", options)?;
    let (there, away) = network.join(bed, "there", options)?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost-migrate.sh"));
    vm.modules = vec!["virtio_net".to_owned()];
    (vm.huge_pages, vm.memory) = (0, 512);
    vm.settings = vec![("SUM".to_owned(), network.sum.clone())];
    let mut target = vm.clone();
    vm.arguments = arguments(&[near], vm.memory, packed);
    target.arguments = arguments(&[away], vm.memory, packed);
    let road = network.dir.path().join("road");
    let incoming = ["-incoming".to_owned(), format!("unix:{}", road.display())];
    target.arguments.extend(incoming);
    let dir = bed.dir.join("target");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let before = copies(&mut guest)?;
    let mut moved = target.start(bed.tools, &dir)?;
    let told = migrate(&guest, &road)?;
    let mut checks = guest.leave();
    // The one that was on its way, and later ones.
    let first = copies_from(&mut moved)?;
    while copies_from(&mut moved)?[0] < first[0] + COPIES {}
    moved.tell("stop")?;
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
