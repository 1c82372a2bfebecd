//! Our own side: `barline-peer`.

use super::Interrupt;
use super::program::Program;
use super::side::Requests;
use crate::cmd;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest hop of two cores that are near, in cycles.
pub const NEAR: u64 = 150;

/// The program, compiled.
#[derive(Debug, Clone)]
pub struct Ours {
    program: PathBuf,
    port: PathBuf,
    /// The workloads that it knows.
    pub names: Vec<String>,
}

impl Ours {
    /// Compiles it.
    pub fn build(paths: &Paths) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--package", "barline-benches"]);
        cargo.args(["--bins", "--target-dir"]).arg(&paths.target);
        cmd::run(cargo.current_dir(&paths.root))?;
        let program = paths.target.join("release/barline-peer");
        let names = cmd::text(Command::new(&program).arg("list"))?;
        let names = names.lines().map(str::to_owned).collect();
        Ok(Self {
            port: program.with_file_name("barline-port"),
            program,
            names,
        })
    }

    /// Starts a mode on one port and waits until it is open.
    pub fn port(
        &self,
        port: &str,
        mode: &str,
        core: usize,
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<Program> {
        let core = core.to_string();
        let args = [port, mode, "--core", &core];
        let mut program = Program::start(&self.port, &args, &[], log, interrupt)?;
        program.hear(|line| line.contains("ready").then_some(()))?;
        Ok(program)
    }

    /// Starts a workload on some cores; `shape` has its options that are not to have their default value.
    pub fn start(
        &self,
        workload: &str,
        cores: &[usize],
        shape: &[(&str, usize)],
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<Requests> {
        let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
        let mut args = vec![workload.to_owned(), "--cores".to_owned(), cores.join(",")];
        for (option, value) in shape {
            args.extend([format!("--{option}"), value.to_string()]);
        }
        let log = dir.join(format!("{workload}-barline.log"));
        let program = Program::start(&self.program, &args, &[], &log, interrupt)?;
        Requests::new(program, None).with_context(|| format!("{workload} on cores {}", cores.join(",")))
    }
}

/// The distance of two cores, measured while nothing else runs.
#[derive(Debug)]
pub struct PingPong(Requests);

impl PingPong {
    /// Starts the program that measures it.
    pub fn start(ours: &Ours, cores: [usize; 2], dir: &Path, interrupt: &Interrupt) -> Result<Self> {
        Ok(Self(ours.start("ping-pong", &cores, &[], dir, interrupt)?))
    }

    /// The label of the distance now.
    pub fn is_near(&mut self) -> Result<bool> {
        Ok(self.hop()? < NEAR)
    }

    /// Cycles that a cache line takes from one core to the other.
    pub fn hop(&mut self) -> Result<u64> {
        let (answer, _) = self.0.ask(Duration::from_millis(1))?;
        let hop = answer.get("hop").and_then(serde_json::Value::as_u64);
        hop.with_context(|| format!("no distance in {answer}"))
    }
}
