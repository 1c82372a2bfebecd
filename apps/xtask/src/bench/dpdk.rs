//! DPDK, as Debian packages it and as somebody built it: what is compared with.

use super::Interrupt;
use super::program::Program;
use super::side::{Cores, Counted, Requests, Side};
use crate::cmd;
use crate::host::{Missing, can_install};
use crate::paths::{Paths, on_path};
use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directory of a native build, as meson made it.
const NATIVE: &str = "BARLINE_DPDK_NATIVE";
const PACKAGES: [&str; 4] = ["dpdk", "dpdk-dev", "libdpdk-dev", "dpdk-doc"];
const L2FWD_SOURCE: &str = "/usr/share/dpdk/examples/l2fwd/main.c";

/// What a peer runs for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// testpmd between two null ports in a forwarding mode; its packets are those it receives.
    Testpmd(&'static str),
    /// The same, where packets are those it sends.
    TestpmdSends(&'static str),
    /// The l2fwd example between two null ports.
    L2fwd,
    /// A loop of `benches/peer/dpdk-peer.c`, by the name of the comparison.
    Loop,
}

/// One build of DPDK.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name in results.
    pub name: String,
    testpmd: PathBuf,
    l2fwd: Option<PathBuf>,
    loops: Option<PathBuf>,
}

/// The peers there are; installs Debian's packages when they are not there, and compiles what comes as source.
pub fn peers(paths: &Paths, dir: &Path) -> Result<Vec<Peer>> {
    install()?;
    let version = cmd::text(Command::new("pkg-config").args(["--modversion", "libdpdk"]))?;
    let version = short(version.trim());
    let l2fwd = compile(Path::new(L2FWD_SOURCE), &dir.join("dpdk-l2fwd"))?;
    let loops = paths.root.join("benches/peer/dpdk-peer.c");
    let loops = compile(&loops, &dir.join("dpdk-peer"))?;
    let mut peers = vec![Peer {
        name: format!("dpdk-{version}-debian"),
        testpmd: "dpdk-testpmd".into(),
        l2fwd: Some(l2fwd),
        loops: Some(loops),
    }];
    peers.extend(native()?);
    Ok(peers)
}

/// Year and month of a version: `22.11` of `22.11.11`.
fn short(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The build that the environment points to.
fn native() -> Result<Option<Peer>> {
    let Some(dir) = env::var_os(NATIVE).filter(|dir| !dir.is_empty()) else {
        return Ok(None);
    };
    let dir = PathBuf::from(dir);
    let testpmd = dir.join("app/dpdk-testpmd");
    let version = Command::new(&testpmd).args(["-v", "--help"]).output();
    let version = version
        .with_context(|| format!("{NATIVE} has no testpmd that runs: {}", testpmd.display()))
        .map_err(|error| Missing(vec![format!("{error:#}")]))?;
    let mut text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&version.stderr));
    let version = text
        .split_once("DPDK ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .map_or_else(|| "unknown".to_owned(), short);
    let l2fwd = dir.join("examples/dpdk-l2fwd");
    Ok(Some(Peer {
        name: format!("dpdk-{version}-native"),
        testpmd,
        l2fwd: l2fwd.exists().then_some(l2fwd),
        loops: None,
    }))
}

/// Installs what is missing.
fn install() -> Result<()> {
    let is_there = |package: &&str| {
        let mut query = Command::new("dpkg-query");
        let status = cmd::text(query.args(["-W", "-f", "${Status}", package]));
        status.is_ok_and(|status| status.ends_with(" installed"))
    };
    let mut packages: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|package| !is_there(package))
        .collect();
    for (program, package) in [
        ("cc", "gcc"),
        ("pkg-config", "pkg-config"),
        ("setsid", "util-linux"),
    ] {
        if !on_path(program) {
            packages.push(package);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    if !can_install() {
        let packages = packages.join(" ");
        return Err(Missing(vec![format!(
            "the packages {packages}: `apt-get install {packages}` on Debian 12 as root"
        )])
        .into());
    }
    eprintln!("bench: installing {}", packages.join(" "));
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    let command = command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(args);
    cmd::output(command.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Compiles one C file against the installed DPDK with the flags that it asks for.
fn compile(source: &Path, to: &Path) -> Result<PathBuf> {
    let flags = |what| cmd::text(Command::new("pkg-config").args([what, "libdpdk"]));
    let (compile, link) = (flags("--cflags")?, flags("--libs")?);
    let mut command = Command::new("cc");
    command
        .args(["-O3", "-DALLOW_EXPERIMENTAL_API", "-o"])
        .arg(to)
        .arg(source);
    command
        .args(compile.split_whitespace())
        .args(link.split_whitespace());
    cmd::output(&mut command)?;
    Ok(to.to_path_buf())
}

impl Peer {
    #[cfg(test)]
    pub fn for_tests(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            testpmd: PathBuf::new(),
            l2fwd: None,
            loops: None,
        }
    }

    /// Starts what it has for a task; `None` when it has nothing.
    pub fn start(
        &self,
        task: Task,
        bench: &str,
        cores: Cores,
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<Option<Box<dyn Side>>> {
        let (core, other) = (cores.poller.to_string(), cores.other.to_string());
        let log = dir.join(format!("{bench}-{}.log", self.name));
        // Whatever DPDK leaves in its run-time directory goes with it.
        let runtime = tempfile::tempdir().context("cannot make a directory")?;
        let environment = [("RUNTIME_DIRECTORY", runtime.path().to_path_buf())];
        let start =
            |program: &Path, args: &[&str]| Program::start(program, args, &environment, &log, interrupt);
        let memory = ["--in-memory", "--no-pci", "--file-prefix", "peer", "-m"];
        let null = ["512", "--vdev", "net_null0", "--vdev", "net_null1"];
        match task {
            Task::Testpmd(mode) | Task::TestpmdSends(mode) => {
                let lists = [&format!("{other},{core}"), "--main-lcore", &*other];
                let mode = format!("--forward-mode={mode}");
                let args = [&["-l"], &lists[..], &memory, &null, &["--", &mode, "--burst=32"]].concat();
                let sends = matches!(task, Task::TestpmdSends(_));
                let program = start(&self.testpmd, &args)?;
                Ok(Some(Box::new(Counted::new(program, runtime, sends)?)))
            }
            Task::L2fwd => {
                let Some(l2fwd) = &self.l2fwd else { return Ok(None) };
                let ours = ["--", "-p", "0x3", "-q", "2", "-T", "0"];
                let args = [&["-l", &*core], &memory[..], &null, &ours].concat();
                Ok(Some(Box::new(Counted::new(
                    start(l2fwd, &args)?,
                    runtime,
                    false,
                )?)))
            }
            Task::Loop => {
                let Some(loops) = &self.loops else { return Ok(None) };
                let lcores = match cores.both {
                    true => format!("0@{core},1@{other}"),
                    false => format!("0@{core}"),
                };
                let ours = ["64", "--no-telemetry", "--log-level=3", "--", bench];
                let args = [&["--lcores", &*lcores], &memory[..], &ours].concat();
                Ok(Some(Box::new(Requests::new(
                    start(loops, &args)?,
                    Some(runtime),
                )?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_by_year_and_month() {
        assert_eq!(short("22.11.11"), "22.11");
        assert_eq!(short("24"), "24");
    }
}
