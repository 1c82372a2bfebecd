//! vhost-user ports with DPDK's testpmd as their peer: it reflects what `drivers/vhost/examples/reflect.rs` sends and checks.

use crate::cmd;
use crate::host::need_packages;
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Longest wait for a line of ours.
const LIMIT: Duration = Duration::from_secs(120);
/// Times that either side is killed in the middle of traffic.
const KILLS: usize = 10;
/// How long traffic runs before that.
const RUN: Duration = Duration::from_millis(200);

/// How the peer's device is to be.
#[derive(Clone, Copy, Debug)]
struct Device {
    packed: bool,
    mergeable: bool,
    in_order: bool,
    queues: u8,
    /// It listens, and we connect.
    server: bool,
    /// Bytes of the longest frame.
    most: u32,
}

const PLAIN: Device = Device {
    packed: false,
    mergeable: true,
    in_order: false,
    queues: 1,
    server: false,
    most: 1514,
};

/// A program of one of the two sides; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself, or this ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our side, and the lines that it prints.
struct Ours {
    program: Running,
    lines: Receiver<String>,
    log: PathBuf,
}

struct Bench {
    reflect: PathBuf,
    dir: PathBuf,
}

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    need_packages(&["dpdk", "dpdk-dev"])?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = [
        "build",
        "--release",
        "-p",
        "barline-vhost",
        "--example",
        "reflect",
    ];
    cmd::run(Command::new(cargo).args(build).current_dir(&paths.root))?;
    let bench = Bench {
        reflect: paths.target.join("release/examples/reflect"),
        dir: paths.run_dir("vhost-testpmd"),
    };
    std::fs::create_dir_all(&bench.dir).context("cannot make a directory")?;
    let mut devices = 0;
    for bits in 0..16 {
        let on = |bit: u8| bits >> bit & 1 != 0;
        let device = Device {
            packed: on(0),
            mergeable: on(1),
            in_order: on(2),
            queues: if on(3) { 2 } else { 1 },
            ..PLAIN
        };
        bench.round(device)?;
        devices += 1;
    }
    for (packed, mergeable) in [(false, true), (true, true), (false, false), (true, false)] {
        bench.round(Device {
            packed,
            mergeable,
            most: 9014,
            ..PLAIN
        })?;
        devices += 1;
    }
    for packed in [false, true] {
        bench.theirs_is_killed(Device { packed, ..PLAIN })?;
        bench.ours_is_killed(Device {
            packed,
            server: true,
            ..PLAIN
        })?;
    }
    Ok(Outcome::Passed(format!(
        "{devices} devices, {KILLS} kills of either side"
    )))
}

impl Bench {
    /// A fresh name for a socket: a listener that was killed leaves its file.
    fn socket(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir().context("cannot make a directory")
    }

    fn ours(&self, socket: &Path, device: Device, frames: u32) -> Result<Ours> {
        let log = self.dir.join("reflect.log");
        let mut command = Command::new(&self.reflect);
        command.arg(socket.join("s"));
        if device.server {
            command.arg("client");
        }
        command.args([
            format!("queues={}", device.queues),
            format!("frames={frames}"),
            format!("most={}", device.most),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command.spawn().context("cannot start reflect")?;
        let output = child.stdout.take().context("reflect has no output")?;
        let (to, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        Ok(Ours {
            program: Running(child),
            lines,
            log,
        })
    }

    fn theirs(&self, socket: &Path, device: Device) -> Result<Running> {
        let on = |on: bool| u8::from(on).to_string();
        let vdev = format!(
            "net_virtio_user0,path={},queues={},queue_size=256,packed_vq={},mrg_rxbuf={},in_order={},server={}",
            socket.join("s").display(),
            device.queues,
            on(device.packed),
            on(device.mergeable),
            on(device.in_order),
            on(device.server),
        );
        let prefix = socket
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace('.', "");
        let log = File::create(self.dir.join("testpmd.log")).context("cannot make a log")?;
        let mut command = Command::new("dpdk-testpmd");
        // Threads that are bound to no processor: there may be one only.
        let last = thread::available_parallelism().map_or(0, |count| count.get() - 1);
        let lcores = format!("0@(0-{last}),1@(0-{last})");
        command.args([
            "--lcores",
            &lcores,
            "-m",
            "256",
            "--no-huge",
            "--no-pci",
            "--no-telemetry",
        ]);
        command.args(["--file-prefix", &prefix, "--vdev", &vdev, "--"]);
        // What comes before it is ready is not to be thrown away; buffers of one frame where frames are not spread.
        command.args([
            "--forward-mode=io",
            "--no-flush-rx",
            "--nb-cores=1",
            "--total-num-mbufs=4096",
        ]);
        command.args([
            format!("--rxq={}", device.queues),
            format!("--txq={}", device.queues),
        ]);
        if device.most > 1514 {
            command.args(["--max-pkt-len=9100", "--tx-offloads=0x8000"]);
            match device.mergeable {
                true => command.arg("--enable-scatter"),
                false => command.arg("--mbuf-size=9728"),
            };
        }
        // It ends when its input does.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(Running(command.spawn().context("cannot start dpdk-testpmd")?))
    }

    /// Frames of every length there and back.
    fn round(&self, device: Device) -> Result<()> {
        let socket = self.socket()?;
        let ours = self.ours(socket.path(), device, 20_000)?;
        ours.wait_for_socket(socket.path())?;
        let _theirs = self.theirs(socket.path(), device)?;
        ours.end().with_context(|| format!("{device:?}"))
    }

    fn theirs_is_killed(&self, device: Device) -> Result<()> {
        let socket = self.socket()?;
        let ours = self.ours(socket.path(), device, 100_000)?;
        ours.wait_for_socket(socket.path())?;
        for _ in 0..KILLS {
            let theirs = self.theirs(socket.path(), device)?;
            ours.line("begins")?;
            thread::sleep(RUN);
            drop(theirs);
            ours.line("the peer is gone")?;
        }
        let _theirs = self.theirs(socket.path(), device)?;
        ours.end().with_context(|| format!("testpmd killed, {device:?}"))
    }

    fn ours_is_killed(&self, device: Device) -> Result<()> {
        let socket = self.socket()?;
        let _theirs = self.theirs(socket.path(), device)?;
        for _ in 0..KILLS {
            let ours = self.ours(socket.path(), device, 100_000)?;
            ours.line("begins")?;
            thread::sleep(RUN);
        }
        let ours = self.ours(socket.path(), device, 100_000)?;
        ours.end().with_context(|| format!("ours killed, {device:?}"))
    }
}

impl Ours {
    fn wait_for_socket(&self, socket: &Path) -> Result<()> {
        let socket = socket.join("s");
        for _ in 0..LIMIT.as_millis() / 10 {
            if socket.exists() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("{} does not appear", socket.display())
    }

    /// Waits for a line with these words.
    fn line(&self, words: &str) -> Result<()> {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(words) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                    bail!("reflect does not say {words:?}: {}", said.trim());
                }
            }
        }
    }

    fn end(mut self) -> Result<()> {
        self.line("whole and in order")?;
        let status = self.program.0.wait()?;
        if !status.success() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("reflect ended with {status}: {}", said.trim());
        }
        Ok(())
    }
}
