//! Checksums and segments that are left to the other side, DPDK's testpmd: ours open to it (io mode sends them back as they came), and its
//! own open to us (csum mode).
//!
//! Long packets, to be cut into segments: testpmd's virtio-user passes on what it received whole only in csum mode, where it asks for
//! segments of its own (`tso set`). Its vhost refuses that: "TSO is not supported by port 0". In io mode it asks for what it was asked for
//! itself, where it is told to (`tso=1,legacy-ol-flags=1`): it then takes a received packet's marks for wishes.

use super::device::{Device, End};
use super::program::{Ours, Running, await_file};
use super::{Place, environment, our_side, said};
use crate::host::need_packages;
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Frames of each run.
const FRAMES: u32 = 20_000;

/// Bytes of segments that we ask for, and that testpmd asks for where it is told to.
const SEGMENT: [u16; 2] = [1200, 1000];

/// What testpmd does with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    Io,
    /// It leaves their checksums to us.
    Csum,
    /// The same with long ones: which are to be cut.
    Long,
    /// Nothing, with long ones.
    LongIo,
}

impl Mode {
    /// Those that testpmd has at its end.
    fn all(ours: End) -> &'static [Self] {
        match ours {
            End::Vhost => &[Self::Io, Self::Csum, Self::Long],
            End::VirtioUser => &[Self::Io, Self::Csum, Self::LongIo],
        }
    }

    /// Whether frames come back as they went.
    fn is_io(self) -> bool {
        matches!(self, Self::Io | Self::LongIo)
    }

    /// What our side is told.
    fn ours(self) -> Vec<String> {
        let mut words = vec![if self.is_io() { "raw" } else { "csum" }.to_owned()];
        words.push(format!("frames={FRAMES}"));
        let [sent, asked] = SEGMENT;
        let back = match self {
            Self::Long => asked,
            Self::LongIo => sent,
            _ => return words,
        };
        words.extend([format!("sent={sent}"), format!("back={back}")]);
        words
    }

    /// More of DPDK's device.
    fn vdev(self) -> &'static str {
        match self {
            Self::LongIo => ",tso=1,legacy-ol-flags=1",
            _ => "",
        }
    }

    /// More of testpmd's arguments. `RTE_ETH_RX_OFFLOAD_*`: TCP_CKSUM is 8, TCP_LRO 0x10; `RTE_ETH_TX_OFFLOAD_*`: TCP_CKSUM is 8, TCP_TSO
    /// 0x20.
    fn testpmd(self, commands: &Path) -> Vec<String> {
        let mode = if self.is_io() { "io" } else { "csum" };
        let mut arguments = vec![format!("--forward-mode={mode}")];
        let mut more = |some: &[&str]| arguments.extend(some.iter().map(|text| (*text).to_owned()));
        match self {
            Self::Long => {
                more(&["--rx-offloads=0x18", "--tx-offloads=0x28", "--max-pkt-len=9100"]);
                more(&["--mbuf-size=9728", "--interactive"]);
                arguments.push(format!("--cmdline-file={}", commands.display()));
            }
            Self::LongIo => more(&["--max-pkt-len=9100", "--mbuf-size=9728"]),
            _ => more(&["--rx-offloads=0x8", "--tx-offloads=0x8"]),
        }
        arguments
    }
}

/// testpmd's commands where it is to ask for segments.
fn commands() -> String {
    let segment = SEGMENT[1];
    format!("port stop 0\ncsum set tcp hw 0\ntso set {segment} 0\nport start 0\nstart\n")
}

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    need_packages(&["dpdk", "dpdk-dev"])?;
    let program = our_side(paths, "reflect_open")?;
    let dir = paths.run_dir("offload-testpmd");
    std::fs::create_dir_all(&dir).context("cannot make a directory")?;
    let mut runs = 0;
    for ours in [End::Vhost, End::VirtioUser] {
        for bits in 0..4 {
            for &mode in Mode::all(ours) {
                let device = Device::of(ours, bits);
                one(&program, &dir, device, mode).with_context(|| format!("{device:?}, {mode:?}"))?;
                runs += 1;
            }
        }
    }
    Ok(Outcome::Passed(format!(
        "{runs} runs, {FRAMES} frames each way, their checksums open; long ones uncut"
    )))
}

fn one(program: &Path, dir: &Path, device: Device, mode: Mode) -> Result<()> {
    let place = Place::new()?;
    let start_ours = || -> Result<Ours> {
        let mut command = Command::new(program);
        command.arg(device.port(&place.socket())).args(mode.ours());
        Ours::start(command, dir.join("reflect_open.log"))
    };
    if device.we_listen {
        let ours = start_ours()?;
        await_file(&place.socket(), || ours.complaint())?;
        let _theirs = theirs(&place, dir, device, mode)?;
        return ours.end();
    }
    let _theirs = theirs(&place, dir, device, mode)?;
    await_file(&place.socket(), || said(&log(dir)))?;
    start_ours()?.end()
}

fn theirs(place: &Place, dir: &Path, device: Device, mode: Mode) -> Result<Running> {
    let script = dir.join("testpmd.commands");
    std::fs::write(&script, commands()).context("cannot write testpmd's commands")?;
    let log = File::create(log(dir)).context("cannot make a log")?;
    let mut command = Command::new("dpdk-testpmd");
    command.args(environment(&place.prefix()));
    let vdev = device.vdev(&place.socket());
    command.args(["--vdev", &format!("{vdev}{}", mode.vdev()), "--"]);
    command.args(device.testpmd());
    command.args(mode.testpmd(&script));
    // It ends when its input does.
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    Running::start(&mut command, "dpdk-testpmd")
}

fn log(dir: &Path) -> PathBuf {
    dir.join("testpmd.log")
}
