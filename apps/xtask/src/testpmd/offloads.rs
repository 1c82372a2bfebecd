//! Checksums that are left to the other side, DPDK's testpmd: ours open to it (io mode sends them back as they came), and its own open to
//! us (csum mode).

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

/// TCP's checksum, of `RTE_ETH_RX_OFFLOAD_*` and of `RTE_ETH_TX_OFFLOAD_*`.
const TCP: &str = "0x8";
/// Frames of each run.
const FRAMES: u32 = 20_000;

/// testpmd's mode, and what our side expects of it.
const MODES: [(&str, &str); 2] = [("io", "raw"), ("csum", "csum")];

/// The whole step.
pub fn run(paths: &Paths) -> Result<Outcome> {
    need_packages(&["dpdk", "dpdk-dev"])?;
    let program = our_side(paths, "reflect_open")?;
    let dir = paths.run_dir("offload-testpmd");
    std::fs::create_dir_all(&dir).context("cannot make a directory")?;
    let mut runs = 0;
    for ours in [End::Vhost, End::VirtioUser] {
        for bits in 0..4 {
            for mode in MODES {
                let device = Device::of(ours, bits);
                one(&program, &dir, device, mode).with_context(|| format!("{device:?}, {}", mode.0))?;
                runs += 1;
            }
        }
    }
    Ok(Outcome::Passed(format!(
        "{runs} runs, {FRAMES} frames each way, their checksums open"
    )))
}

fn one(program: &Path, dir: &Path, device: Device, (mode, expects): (&str, &str)) -> Result<()> {
    let place = Place::new()?;
    let start_ours = || -> Result<Ours> {
        let mut command = Command::new(program);
        command.args([
            &device.port(&place.socket()),
            expects,
            &format!("frames={FRAMES}"),
        ]);
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

fn theirs(place: &Place, dir: &Path, device: Device, mode: &str) -> Result<Running> {
    let log = File::create(log(dir)).context("cannot make a log")?;
    let mut command = Command::new("dpdk-testpmd");
    command.args(environment(&place.prefix()));
    command.args(["--vdev", &device.vdev(&place.socket()), "--"]);
    command.args(device.testpmd());
    command.arg(format!("--forward-mode={mode}"));
    command.args([format!("--rx-offloads={TCP}"), format!("--tx-offloads={TCP}")]);
    // It ends when its input does.
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    Running::start(&mut command, "dpdk-testpmd")
}

fn log(dir: &Path) -> PathBuf {
    dir.join("testpmd.log")
}
