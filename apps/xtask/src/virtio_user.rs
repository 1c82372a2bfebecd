//! virtio-user ports with DPDK's testpmd as their back end: it reflects what `drivers/virtio-user/examples/user_reflect.rs`
//! sends and checks. As many frames a combination as `BARLINE_FRAMES` says, 20,000 without.

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
const LIMIT: Duration = Duration::from_secs(300);
/// Times that either side is killed in the middle of traffic.
const KILLS: usize = 10;
/// How long traffic runs before that.
const RUN: Duration = Duration::from_millis(200);

/// What the two sides agree on.
#[derive(Clone, Copy, Debug)]
struct Device {
    packed: bool,
    mergeable: bool,
    in_order: bool,
    queues: u8,
    /// We listen, and testpmd connects.
    server: bool,
    /// Bytes of the longest frame.
    most: u32,
}

impl Device {
    /// Each combination of features by its number.
    fn of(bits: u8) -> Self {
        let on = |bit: u8| bits >> bit & 1 != 0;
        Self {
            packed: on(0),
            mergeable: on(1),
            in_order: on(2),
            queues: 1,
            server: false,
            most: 1514,
        }
    }

    fn options(self) -> String {
        let on = |on: bool| if on { "on" } else { "off" };
        let (packed, mergeable, in_order) = (on(self.packed), on(self.mergeable), on(self.in_order));
        let server = if self.server { ",server" } else { "" };
        format!("packed={packed},mergeable={mergeable},in-order={in_order}{server}")
    }
}

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
    frames: u32,
}

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    need_packages(&["dpdk", "dpdk-dev"])?;
    let frames = match std::env::var("BARLINE_FRAMES") {
        Ok(frames) => frames.parse().context("BARLINE_FRAMES is no number")?,
        Err(_) => 20_000,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "-p", "barline-virtio-user", "--example", "user_reflect"];
    cmd::run(Command::new(cargo).args(build).current_dir(&paths.root))?;
    let bench = Bench {
        reflect: paths.target.join("debug/examples/user_reflect"),
        dir: paths.run_dir("virtio-user-testpmd"),
        frames,
    };
    std::fs::create_dir_all(&bench.dir).context("cannot make a directory")?;
    let mut rounds = 0;
    for (queues, most) in [(1, 1514), (2, 1514), (1, 9000)] {
        rounds += bench.rounds(queues, most)?;
    }
    for packed in [false, true] {
        let device = Device {
            packed,
            ..Device::of(0b100)
        };
        bench.theirs_is_killed(device)?;
        bench.ours_is_killed(device)?;
        bench.theirs_is_killed(Device {
            server: true,
            ..device
        })?;
    }
    Ok(Outcome::Passed(format!(
        "{rounds} combinations of {frames} frames, {KILLS} kills of either side"
    )))
}

impl Bench {
    /// A directory for the name of a socket: a listener that was killed leaves its file.
    fn place(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir().context("cannot make a directory")
    }

    fn ours(&self, place: &Path, device: Device, frames: u32) -> Result<Ours> {
        let log = self.dir.join("reflect.log");
        let mut command = Command::new(&self.reflect);
        command.arg(format!("{},{}", place.join("s").display(), device.options()));
        command.args([
            format!("queues={}", device.queues),
            format!("frames={frames}"),
            format!("most={}", device.most),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command.spawn().context("cannot start user_reflect")?;
        let output = child.stdout.take().context("user_reflect has no output")?;
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

    fn theirs(&self, place: &Path, device: Device) -> Result<Running> {
        let (path, client) = (place.join("s"), u8::from(device.server));
        let (shown, queues) = (path.display(), device.queues);
        let vdev = format!("net_vhost0,iface={shown},queues={queues},client={client}");
        let prefix = place
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace('.', "");
        if client == 0 && path.exists() {
            std::fs::remove_file(&path).context("cannot remove what a killed testpmd has left")?;
        }
        let log = File::create(self.dir.join("testpmd.log"))?;
        let mut command = Command::new("dpdk-testpmd");
        command.args([
            "--lcores",
            "0@(0-127),1@(0-127)",
            "-m",
            "256",
            "--no-huge",
            "--no-pci",
            "--no-telemetry",
        ]);
        command.args(["--file-prefix", &prefix, "--vdev", &vdev, "--"]);
        command.args([
            "--forward-mode=io",
            "--no-flush-rx",
            "--disable-link-check",
            "--nb-cores=1",
        ]);
        command.args([
            "--total-num-mbufs=4096".to_owned(),
            format!("--rxq={queues}"),
            format!("--txq={queues}"),
        ]);
        if device.most > 1514 {
            command.args(["--max-pkt-len=9100", "--tx-offloads=0x8000"]);
        }
        // It ends when its input does.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let theirs = Running(command.spawn().context("cannot start dpdk-testpmd")?);
        if !device.server {
            self.wait_for(&path)?;
        }
        Ok(theirs)
    }

    /// Until somebody listens there.
    fn wait_for(&self, path: &Path) -> Result<()> {
        for _ in 0..LIMIT.as_millis() / 10 {
            if path.exists() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let said = std::fs::read_to_string(self.dir.join("testpmd.log")).unwrap_or_default();
        bail!("{} does not appear: {}", path.display(), said.trim())
    }

    /// Frames of every length there and back, for every combination of features, one after the other at one testpmd.
    fn rounds(&self, queues: u8, most: u32) -> Result<usize> {
        let place = self.place()?;
        let device = |bits| Device {
            queues,
            most,
            ..Device::of(bits)
        };
        let _theirs = self.theirs(place.path(), device(0))?;
        for bits in 0..8 {
            let ours = self.ours(place.path(), device(bits), self.frames)?;
            ours.end().with_context(|| format!("{:?}", device(bits)))?;
        }
        Ok(8)
    }

    fn theirs_is_killed(&self, device: Device) -> Result<()> {
        let place = self.place()?;
        let mut theirs = self.theirs(place.path(), device)?;
        let ours = self.ours(place.path(), device, 5 * self.frames)?;
        for _ in 0..KILLS {
            ours.line("begins")?;
            thread::sleep(RUN);
            drop(theirs);
            ours.line("the peer is gone")?;
            theirs = self.theirs(place.path(), device)?;
        }
        ours.end().with_context(|| format!("testpmd killed, {device:?}"))
    }

    fn ours_is_killed(&self, device: Device) -> Result<()> {
        let place = self.place()?;
        let _theirs = self.theirs(place.path(), device)?;
        for _ in 0..KILLS {
            let ours = self.ours(place.path(), device, u32::MAX)?;
            ours.line("begins")?;
            thread::sleep(RUN);
        }
        let ours = self.ours(place.path(), device, self.frames)?;
        ours.end().with_context(|| format!("ours killed, {device:?}"))
    }
}

impl Ours {
    /// Waits for a line with these words.
    fn line(&self, words: &str) -> Result<()> {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(words) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                    bail!("user_reflect does not say {words:?}: {}", said.trim());
                }
            }
        }
    }

    fn end(mut self) -> Result<()> {
        self.line("whole and in order")?;
        let status = self.program.0.wait()?;
        if !status.success() {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("user_reflect ended with {status}: {}", said.trim());
        }
        Ok(())
    }
}
