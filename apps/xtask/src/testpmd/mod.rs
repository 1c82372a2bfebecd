//! Ports over a vhost-user socket with DPDK's testpmd at the other end: it sends back what `apps/reflect` sends
//! and checks. As many frames a queue as `BARLINE_FRAMES` says, 20,000 without; devices and kills whose names hold one of the
//! words of `BARLINE_DEVICES` (`packed-mrg-in_order-2q-9014`, `2q-9014,killed`), all without.

mod device;
pub mod offloads;
mod program;
pub mod vhost;
pub mod virtio_user;

use crate::host::need_packages;
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::{Context, Result, bail};
use device::Device;
use program::{Ours, Running, await_file};
use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Pairs of queues, and bytes of the longest frame: each with every combination of features.
const SHAPES: [(u8, u32); 4] = [(1, 1514), (2, 1514), (1, 9014), (2, 9014)];
/// What is killed: features by their number, pairs of queues. Split in order; packed in order; split and packed with
/// mergeable buffers and two queues.
const KILLED: [(u8, u8); 4] = [(0b100, 1), (0b101, 1), (0b010, 2), (0b011, 2)];
/// Times that either side is killed in the middle of traffic.
const KILLS: usize = 10;
/// How long traffic runs before that.
const RUN: Duration = Duration::from_millis(200);
/// Frames a second and queue.
const RATE: u32 = 200_000;
/// Frames that last longer than a run before a kill.
const LASTING: u32 = 10 * RATE;

/// The two programs, and where they leave their logs.
struct Bench {
    reflect: PathBuf,
    dir: PathBuf,
    frames: u32,
    /// What is run: names with one of these words, all where there is none.
    words: Vec<String>,
    /// How much of it was.
    done: Cell<usize>,
}

/// A directory for a socket of its own: a listener that was killed leaves its file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir().context("cannot make a directory")?))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("s")
    }

    /// Keeps one DPDK program's files from another's.
    fn prefix(&self) -> String {
        let name = self.0.path().file_name().unwrap_or_default();
        name.to_string_lossy().replace('.', "")
    }
}

impl Bench {
    /// Builds our side.
    fn new(paths: &Paths, step: &str) -> Result<Self> {
        need_packages(&["dpdk", "dpdk-dev"])?;
        let frames = match std::env::var("BARLINE_FRAMES") {
            Ok(frames) => frames.parse().context("BARLINE_FRAMES is no number")?,
            Err(_) => 20_000,
        };
        let words = std::env::var("BARLINE_DEVICES").unwrap_or_default();
        let words = words.split(',').filter(|word| !word.is_empty());
        let bench = Self {
            reflect: crate::program::REFLECT.build(paths)?,
            dir: paths.run_dir(step),
            frames,
            words: words.map(str::to_owned).collect(),
            done: Cell::new(0),
        };
        std::fs::create_dir_all(&bench.dir).context("cannot make a directory")?;
        Ok(bench)
    }

    /// Whether a name was asked for.
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Does one part of the step if its name was asked for, and tells how it ended: a run of many frames is long.
    fn part(&self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let begin = Instant::now();
        work().with_context(|| name.to_owned())?;
        println!("    ok   {name} {:.1} s", begin.elapsed().as_secs_f64());
        self.done.set(self.done.get() + 1);
        Ok(())
    }

    /// How a step ends whose parts have all passed.
    fn outcome(&self) -> Result<Outcome> {
        let (done, frames) = (self.done.get(), self.frames);
        if done == 0 {
            bail!("BARLINE_DEVICES names none of the devices, such as packed-mrg-in_order-2q-9014");
        }
        Ok(Outcome::Passed(format!(
            "{done} devices and rows of {KILLS} kills, {frames} frames a queue"
        )))
    }

    fn ours(&self, place: &Place, device: Device, frames: u32) -> Result<Ours> {
        let mut command = Command::new(&self.reflect);
        command.arg(device.port(&place.socket()));
        command.args([
            format!("frames={frames}"),
            format!("most={}", device.most),
            format!("rate={RATE}"),
            format!("window={}", device.window()),
        ]);
        let ours = Ours::start(command, self.dir.join("reflect.log"))?;
        if device.we_listen {
            await_file(&place.socket(), || ours.complaint())?;
        }
        Ok(ours)
    }

    fn theirs(&self, place: &Place, device: Device) -> Result<Running> {
        let socket = place.socket();
        if !device.we_listen && socket.exists() {
            std::fs::remove_file(&socket).context("cannot remove what a killed testpmd has left")?;
        }
        let path = self.dir.join("testpmd.log");
        let log = File::create(&path).context("cannot make a log")?;
        let mut command = Command::new("dpdk-testpmd");
        command.args(environment(&place.prefix()));
        command.args(["--vdev", &device.vdev(&socket), "--"]);
        command.args(device.testpmd());
        // It ends when its input does.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let theirs = Running::start(&mut command, "dpdk-testpmd")?;
        if !device.we_listen {
            await_file(&socket, || said(&path))?;
        }
        Ok(theirs)
    }

    /// Both, who listens first.
    fn both(&self, place: &Place, device: Device, frames: u32) -> Result<(Ours, Running)> {
        if device.we_listen {
            let ours = self.ours(place, device, frames)?;
            return Ok((ours, self.theirs(place, device)?));
        }
        let theirs = self.theirs(place, device)?;
        Ok((self.ours(place, device, frames)?, theirs))
    }

    /// Frames of every length there and back.
    fn round(&self, device: Device) -> Result<()> {
        let place = Place::new()?;
        let (ours, _theirs) = self.both(&place, device, self.frames)?;
        ours.end()
    }

    fn kill_theirs(&self, device: Device) -> Result<()> {
        let name = format!("{}-killed-testpmd", device.name());
        self.part(&name, || self.theirs_is_killed(device))
    }

    fn kill_ours(&self, device: Device) -> Result<()> {
        let name = format!("{}-killed-ours", device.name());
        self.part(&name, || self.ours_is_killed(device))
    }

    /// testpmd dies in the middle of traffic, again and again; ours goes on by itself.
    fn theirs_is_killed(&self, device: Device) -> Result<()> {
        let place = Place::new()?;
        let (ours, mut theirs) = self.both(&place, device, LASTING)?;
        for _ in 0..KILLS {
            ours.line("begins")?;
            thread::sleep(RUN);
            drop(theirs);
            ours.line("the peer is gone")?;
            theirs = self.theirs(&place, device)?;
        }
        ours.line("begins")?;
        // What it does not say any more is that frames are wrong: those of the last testpmd are checked as all others.
        thread::sleep(RUN);
        ours.is_well()
    }

    /// Ours dies in the middle of traffic, again and again; the last one has all its frames back. Not before traffic: testpmd 22.11
    /// ends with SIGPIPE when it has a message for one that is gone, as the one that enables a second pair of queues.
    fn ours_is_killed(&self, device: Device) -> Result<()> {
        let place = Place::new()?;
        let _theirs = self.theirs(&place, device)?;
        for _ in 0..KILLS {
            let ours = self.ours(&place, device, LASTING)?;
            ours.line("begins")?;
            thread::sleep(RUN);
        }
        let ours = self.ours(&place, device, self.frames)?;
        match device.testpmd_mixes_up_buffers() {
            true => ours.line("begins"),
            false => ours.end(),
        }
    }
}

/// What testpmd is given of the machine: threads that are bound to no processor, since there may be one only.
fn environment(prefix: &str) -> Vec<String> {
    let last = thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let lcores = format!("0@(0-{last}),1@(0-{last})");
    let given = [
        "--lcores",
        &lcores,
        "-m",
        "256",
        "--no-huge",
        "--no-pci",
        "--no-telemetry",
    ];
    let mut given: Vec<String> = given.map(str::to_owned).to_vec();
    given.extend(["--file-prefix".to_owned(), prefix.to_owned()]);
    given
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default().trim().to_owned()
}
