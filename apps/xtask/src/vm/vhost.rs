//! A guest whose NICs are vhost-user ports of l2fwd on the host.

use super::l2fwd::account;
use super::program::Program;
use super::qemu::{Check, Running, Vm};
use super::scenario::Bed;
use crate::netns::world::Namespace;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Frames that the guest must have sent and received, a boot.
const FRAMES: u64 = 10_000;

/// The forwarder on the host.
pub struct Host {
    child: Child,
    sockets: Vec<PathBuf>,
    log: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        // It has ended by itself, or this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    /// Starts it with these ports, `vhost-user` ones at the sockets among them; its output gets this name. In a network
    /// namespace if one is given.
    pub fn start(
        bed: &Bed<'_>,
        name: &str,
        ports: &[String],
        sockets: &[PathBuf],
        space: Option<&Namespace>,
    ) -> Result<Self> {
        // The one that guests get: another would take a minute to link.
        let program = Program::L2FWD.build(bed.paths)?;
        let log = bed.dir.join(name).with_extension("json");
        let mut command = space.map_or_else(|| Command::new(&program), |space| space.command(&program));
        command.args(["--no-mac-update", "--json", "--huge", "none", "--ports"]);
        let child = command
            .arg(ports.join(","))
            .stdin(Stdio::null())
            .stdout(File::create(&log).context("cannot make a log")?)
            .stderr(File::create(log.with_extension("log")).context("cannot make a log")?)
            .spawn()
            .context("cannot start l2fwd")?;
        let host = Self {
            child,
            sockets: sockets.to_vec(),
            log,
        };
        for _ in 0..1000 {
            if host.sockets.iter().all(|socket| socket.exists()) {
                return Ok(host);
            }
            sleep(Duration::from_millis(20));
        }
        bail!(
            "l2fwd makes no sockets: see {}",
            host.log.with_extension("log").display()
        )
    }

    /// Interrupts it: its exit, its sockets, its account, in which there must be so many frames.
    pub fn end(mut self, least: u64) -> Result<Vec<Check>> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).context("l2fwd has ended before")?;
        let status = self.child.wait()?;
        let left = self.sockets.iter().filter(|socket| socket.exists()).count();
        let text = std::fs::read_to_string(&self.log).context("l2fwd wrote nothing")?;
        let mut checks = vec![
            Check::new("l2fwd-exit", status.success(), status.to_string()),
            Check::new("sockets-removed", left == 0, format!("{left} left")),
        ];
        checks.extend(account(text.lines().last().unwrap_or_default(), least));
        Ok(checks)
    }
}

/// What the guest says of one boot.
fn boot(guest: &mut Running) -> Result<Check> {
    let counts = guest.wait_for("FRAMES")?;
    let good = counts
        .split(' ')
        .all(|n| n.parse().is_ok_and(|n: u64| n >= FRAMES));
    Ok(Check::new("frames", good && counts.contains(' '), counts))
}

/// Pings and streams through l2fwd, a reboot, and again; `options` are those of both ports.
pub fn run(bed: &Bed<'_>, options: &str, packed: bool) -> Result<Vec<Check>> {
    // Names of sockets must be short.
    let dir = tempfile::tempdir().context("cannot make a directory")?;
    let sockets = ["a", "b"].map(|name| dir.path().join(name));
    let ports = sockets.each_ref().map(|socket| port(socket, options));
    let host = Host::start(bed, "l2fwd", &ports, &sockets, None)?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost.sh"));
    vm.modules = vec!["virtio_net".to_owned()];
    vm.huge_pages = 0;
    vm.arguments = arguments(&sockets, vm.memory, packed);
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = vec![boot(&mut guest)?];
    guest.tell("reboot")?;
    guest.wait_for("REBOOTS")?;
    checks.push(boot(&mut guest)?);
    guest.tell("stop")?;
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    checks.extend(host.end(2 * FRAMES)?);
    Ok(checks)
}

/// The port at a socket.
pub fn port(socket: &Path, options: &str) -> String {
    format!("vhost-user:{}{options}", socket.display())
}

/// Memory that is shared, a NIC a socket whose device is there, and a reset that is one.
pub fn arguments(sockets: &[PathBuf], memory: u32, packed: bool) -> Vec<String> {
    let mut words = vec![
        "-object".to_owned(),
        format!("memory-backend-memfd,id=mem,size={memory}M,share=on"),
        "-M".to_owned(),
        "memory-backend=mem".to_owned(),
        "-action".to_owned(),
        "reboot=reset".to_owned(),
    ];
    let packed = if packed { "on" } else { "off" };
    for (index, socket) in sockets.iter().enumerate() {
        let number = index + 1;
        words.extend([
            "-chardev".to_owned(),
            format!("socket,id=char{number},path={}", socket.display()),
            "-netdev".to_owned(),
            format!("vhost-user,id=net{number},chardev=char{number}"),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=net{number},mac=52:54:00:00:00:0{number},disable-legacy=on,packed={packed},romfile="),
        ]);
    }
    words
}
