//! A guest whose NICs are vhost-user ports of l2fwd on the host.

use super::capture::Shape;
use super::l2fwd::{account, build};
use super::lengths::{cut, lengths};
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

/// Likewise where most are long ones: the pings.
const FEW: u64 = 2_000;

/// The forwarder on the host.
pub struct Host {
    child: Child,
    sockets: Vec<PathBuf>,
    log: PathBuf,
    shape: Shape,
}

impl Drop for Host {
    fn drop(&mut self) {
        // It has ended by itself, or this ends it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    /// Starts it with these ports, `vhost-user` ones at the sockets among them, which let packets cross in this shape; its output gets
    /// this name. In a network namespace if one is given.
    pub fn start(
        bed: &Bed<'_>,
        name: &str,
        ports: &[String],
        sockets: &[PathBuf],
        space: Option<&Namespace>,
        shape: Shape,
    ) -> Result<Self> {
        // The one that guests get: another would take a minute to link.
        let program = build(bed.paths)?;
        let log = bed.dir.join(name).with_extension("json");
        let mut command = space.map_or_else(|| Command::new(&program), |space| space.command(&program));
        command.args(shape.arguments().split(' '));
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
            shape,
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

    /// Interrupts it: its exit, its sockets, its account, in which there must be so many frames of the shape.
    pub fn end(self, least: u64) -> Result<Vec<Check>> {
        let shape = self.shape;
        let (mut checks, summary) = self.stop(least)?;
        checks.extend(lengths(&summary, shape));
        Ok(checks)
    }

    /// The same, and of long packets the second port makes frames.
    pub fn end_cutting(self, least: u64) -> Result<Vec<Check>> {
        let (mut checks, summary) = self.stop(least)?;
        checks.extend(cut(&summary));
        Ok(checks)
    }

    fn stop(mut self, least: u64) -> Result<(Vec<Check>, String)> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).context("l2fwd has ended before")?;
        let status = self.child.wait()?;
        let left = self.sockets.iter().filter(|socket| socket.exists()).count();
        let text = std::fs::read_to_string(&self.log).context("l2fwd wrote nothing")?;
        let mut checks = vec![
            Check::new("l2fwd-exit", status.success(), status.to_string()),
            Check::new("sockets-removed", left == 0, format!("{left} left")),
        ];
        let summary = text.lines().last().unwrap_or_default();
        checks.extend(account(summary, least));
        Ok((checks, summary.to_owned()))
    }
}

/// What the guest says of one boot.
fn boot(guest: &mut Running, least: u64) -> Result<Check> {
    let counts = guest.wait_for("FRAMES")?;
    let good = counts
        .split(' ')
        .all(|n| n.parse().is_ok_and(|n: u64| n >= least));
    Ok(Check::new("frames", good && counts.contains(' '), counts))
}

/// Offloads that QEMU offers to the guest unless told.
pub const PLAIN: &str = ",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_uso4=off,guest_uso6=off,\
                         host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,guest_ufo=off,host_uso=off";

/// One way to run it.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Options of both ports.
    pub options: &'static str,
    /// Packed rings.
    pub packed: bool,
    /// How packets are to cross.
    pub shape: Shape,
    /// The second NIC has no offloads.
    pub mixed: bool,
}

impl Variant {
    /// Split rings, frames.
    pub const SPLIT: Self = Self {
        options: "",
        packed: false,
        shape: Shape::Whole,
        mixed: false,
    };
    /// Packed rings, in one buffer each.
    pub const PACKED: Self = Self {
        options: ",mrg=off",
        packed: true,
        ..Self::SPLIT
    };

    /// The same, where packets cross like this.
    pub const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The same, where the second NIC has no offloads.
    pub const fn mixed(self) -> Self {
        Self { mixed: true, ..self }
    }
}

/// Pings and streams through l2fwd, a reboot, and again.
pub fn run(bed: &Bed<'_>, variant: &Variant) -> Result<Vec<Check>> {
    // Names of sockets must be short.
    let dir = tempfile::tempdir().context("cannot make a directory")?;
    let sockets = ["a", "b"].map(|name| dir.path().join(name));
    let ports = sockets.each_ref().map(|socket| port(socket, variant.options));
    let host = Host::start(bed, "l2fwd", &ports, &sockets, None, variant.shape)?;
    let mut vm = Vm::new(bed.kernel.clone(), include_str!("guest/vhost.sh"));
    vm.modules = vec!["virtio_net".to_owned()];
    vm.huge_pages = 0;
    let ring = ring(variant.packed);
    let second = format!("{ring}{}", if variant.mixed { PLAIN } else { "" });
    vm.arguments = arguments(&sockets, vm.memory, &[ring, second.as_str()]);
    let least = if variant.shape == Shape::Long { FEW } else { FRAMES };
    let mut guest = vm.start(bed.tools, &bed.dir)?;
    let mut checks = vec![boot(&mut guest, least)?];
    guest.tell("reboot")?;
    guest.wait_for("REBOOTS")?;
    checks.push(boot(&mut guest, least)?);
    guest.tell("stop")?;
    guest.wait_for("DONE")?;
    checks.extend(guest.finish()?);
    checks.extend(match variant.mixed {
        true => host.end_cutting(2 * least)?,
        false => host.end(2 * least)?,
    });
    Ok(checks)
}

/// The port at a socket.
pub fn port(socket: &Path, options: &str) -> String {
    format!("vhost-user:{}{options}", socket.display())
}

/// QEMU's words for the shape of rings.
pub fn ring(packed: bool) -> &'static str {
    if packed { ",packed=on" } else { ",packed=off" }
}

/// Memory that is shared, a NIC a socket whose device is there, with these options each, and a reset that is one.
pub fn arguments(sockets: &[PathBuf], memory: u32, options: &[&str]) -> Vec<String> {
    let mut words = vec![
        "-object".to_owned(),
        format!("memory-backend-memfd,id=mem,size={memory}M,share=on"),
        "-M".to_owned(),
        "memory-backend=mem".to_owned(),
        "-action".to_owned(),
        "reboot=reset".to_owned(),
    ];
    for (index, (socket, options)) in sockets.iter().zip(options).enumerate() {
        let number = index + 1;
        words.extend([
            "-chardev".to_owned(),
            format!("socket,id=char{number},path={}", socket.display()),
            "-netdev".to_owned(),
            format!("vhost-user,id=net{number},chardev=char{number}"),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=net{number},mac=52:54:00:00:00:0{number},disable-legacy=on,romfile={options}"),
        ]);
    }
    words
}
