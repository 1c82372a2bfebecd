//! DPDK, as Debian packages it and as it comes out of the same source for this very CPU: what is compared with.

use super::Interrupt;
use super::native;
use super::program::Program;
use super::side::{Cores, Counted, Requests, Side};
use super::socket::SocketTask;
use crate::cmd;
use crate::host::need_packages;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PACKAGES: [&str; 7] = [
    "dpdk",
    "dpdk-dev",
    "libdpdk-dev",
    "dpdk-doc",
    "gcc",
    "pkg-config",
    "util-linux",
];
const L2FWD_SOURCE: &str = "/usr/share/dpdk/examples/l2fwd/main.c";
const LOOPS_SOURCE: &str = "benches/peer/dpdk-peer.c";

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
    /// testpmd at one end of a vhost-user socket.
    Socket(SocketTask),
}

/// One build of DPDK.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name in results.
    pub name: String,
    /// Which one it is.
    pub build: Build,
    testpmd: PathBuf,
    l2fwd: PathBuf,
    loops: PathBuf,
}

/// Which builds of DPDK to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Build {
    /// Debian's packages, built for SSE4.2.
    Debian,
    /// Debian's source, built here for this very CPU (minutes, once).
    Native,
}

/// The peers that are asked for; installs or builds what is not there, and compiles what comes as source.
pub fn peers(paths: &Paths, dir: &Path, builds: &[Build]) -> Result<Vec<Peer>> {
    need_packages(&PACKAGES)?;
    let version = cmd::text(Command::new("pkg-config").args(["--modversion", "libdpdk"]))?;
    let version = short(version.trim());
    let peer = |build: &Build| match build {
        Build::Debian => debian(paths, dir, &version),
        Build::Native => built_here(paths, dir, &version),
    };
    builds.iter().map(peer).collect()
}

fn debian(paths: &Paths, dir: &Path, version: &str) -> Result<Peer> {
    let flags = Flags::of(|| Command::new("pkg-config"), &[])?;
    Ok(Peer {
        name: format!("dpdk-{version}-debian"),
        build: Build::Debian,
        testpmd: "dpdk-testpmd".into(),
        l2fwd: flags.compile(Path::new(L2FWD_SOURCE), &dir.join("dpdk-l2fwd"))?,
        loops: flags.compile(&paths.root.join(LOOPS_SOURCE), &dir.join("dpdk-peer"))?,
    })
}

fn built_here(paths: &Paths, dir: &Path, version: &str) -> Result<Peer> {
    let prefix = native::prefix(paths)?;
    let tool = || {
        let mut tool = Command::new("pkg-config");
        tool.env("PKG_CONFIG_PATH", prefix.join(native::PKG_CONFIG));
        tool
    };
    let flags = Flags::of(tool, &["--static"])?;
    Ok(Peer {
        name: format!("dpdk-{version}-native"),
        build: Build::Native,
        testpmd: prefix.join("bin/dpdk-testpmd"),
        l2fwd: flags.compile(Path::new(L2FWD_SOURCE), &dir.join("dpdk-l2fwd-native"))?,
        loops: flags.compile(&paths.root.join(LOOPS_SOURCE), &dir.join("dpdk-peer-native"))?,
    })
}

/// Year and month of a version: `22.11` of `22.11.11`.
fn short(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// What a C program that uses one build of DPDK is compiled with.
struct Flags {
    compile: String,
    link: String,
}

impl Flags {
    fn of(tool: impl Fn() -> Command, how: &[&str]) -> Result<Self> {
        let ask = |what| cmd::text(tool().args(how).args([what, "libdpdk"]));
        Ok(Self {
            compile: ask("--cflags")?,
            link: ask("--libs")?,
        })
    }

    fn compile(&self, source: &Path, to: &Path) -> Result<PathBuf> {
        let mut command = Command::new("cc");
        command
            .args(["-O3", "-DALLOW_EXPERIMENTAL_API", "-o"])
            .arg(to)
            .arg(source);
        command
            .args(self.compile.split_whitespace())
            .args(self.link.split_whitespace());
        cmd::output(&mut command)?;
        Ok(to.to_path_buf())
    }
}

impl Peer {
    #[cfg(test)]
    pub fn for_tests(name: &str, build: Build) -> Self {
        Self {
            name: name.to_owned(),
            build,
            testpmd: PathBuf::new(),
            l2fwd: PathBuf::new(),
            loops: PathBuf::new(),
        }
    }

    /// Starts what does a task.
    pub fn start(
        &self,
        task: Task,
        bench: &str,
        cores: Cores,
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<Box<dyn Side>> {
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
                Ok(Box::new(Counted::new(program, runtime, sends)?))
            }
            Task::L2fwd => {
                let ours = ["--", "-p", "0x3", "-q", "2", "-T", "0"];
                let args = [&["-l", &*core], &memory[..], &null, &ours].concat();
                let program = start(&self.l2fwd, &args)?;
                Ok(Box::new(Counted::new(program, runtime, false)?))
            }
            Task::Loop => {
                let lcores = match cores.both {
                    true => format!("0@{core},1@{other}"),
                    false => format!("0@{core}"),
                };
                let ours = ["64", "--no-telemetry", "--log-level=3", "--", bench];
                let args = [&["--lcores", &*lcores], &memory[..], &ours].concat();
                let program = start(&self.loops, &args)?;
                Ok(Box::new(Requests::new(program, Some(runtime))?))
            }
            Task::Socket(_) => bail!("a socket has two ends: one program does not do"),
        }
    }

    /// Starts testpmd with one port of a device that is no hardware, waiting for commands.
    pub fn interactive(
        &self,
        vdev: &str,
        core: usize,
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<(Program, TempDir)> {
        let runtime = tempfile::tempdir().context("cannot make a directory")?;
        let environment = [("RUNTIME_DIRECTORY", runtime.path().to_path_buf())];
        let lcores = format!("0@{core},1@{core}");
        let args = [
            &["--lcores", &*lcores, "-m", "128", "--in-memory"][..],
            &["--single-file-segments", "--no-pci", "--file-prefix", "peer"],
            &["--force-max-simd-bitwidth=512", "--vdev", vdev, "--", "-i"],
            &["--burst=32", "--no-lsc-interrupt", "--total-num-mbufs=16384"],
            &["--record-core-cycles"],
        ]
        .concat();
        // Line by line: its answers are waited for.
        let testpmd = [OsStr::new("-oL"), self.testpmd.as_os_str()].into_iter();
        let args: Vec<&OsStr> = testpmd.chain(args.iter().map(OsStr::new)).collect();
        let program = Program::start(Path::new("stdbuf"), &args, &environment, log, interrupt)?;
        Ok((program, runtime))
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
