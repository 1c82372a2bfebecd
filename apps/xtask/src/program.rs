//! Programs of the workspace that tests run, each built once: steps that run beside each other do not ask cargo again, which
//! would wait for whatever it builds just then.

use crate::cmd;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A program of the workspace.
pub struct Program {
    /// What cargo is told to build.
    arguments: &'static [&'static str],
    /// Where that ends up, below the target's directory.
    file: &'static str,
    /// Whether that was done. Who wants it meanwhile waits.
    built: Mutex<bool>,
}

/// A program of `apps/reflect`; `-p l2fwd`, so that all crates have the features which they have there, and are there.
macro_rules! reflect {
    ($name:literal) => {
        Program::new(
            &[
                "--release",
                "-p",
                "l2fwd",
                "-p",
                "barline-reflect",
                "--bin",
                $name,
            ],
            concat!("release/", $name),
        )
    };
}

/// The forwarder, as a user builds it.
pub static L2FWD: Program = Program::new(&["--release", "-p", "l2fwd"], "release/l2fwd");
/// `apps/reflect`.
pub static REFLECT: Program = reflect!("reflect");
/// The same with offloads.
pub static REFLECT_OPEN: Program = reflect!("reflect_open");
/// The forwarder of the unit tests, with debug assertions.
pub static L2FWD_CHECKED: Program = Program::of_tests(
    &["--workspace", "--bin", "l2fwd", "--example", "launch"],
    "debug/l2fwd",
);
/// `apps/simulate`, with debug assertions.
pub static SIMULATE: Program = Program::of_tests(
    &["--workspace", "--bin", "simulate", "--example", "launch"],
    "debug/simulate",
);
/// `apps/barline`, which lists the machine's ports.
pub static BARLINE: Program = Program::of_tests(
    &["--workspace", "--bin", "barline", "--example", "launch"],
    "debug/barline",
);
/// `engine/examples/vfio_probe.rs`.
pub static VFIO_PROBE: Program = Program::of_tests(
    &["--workspace", "--example", "vfio_probe"],
    "debug/examples/vfio_probe",
);
/// `engine/examples/launch.rs`.
pub static LAUNCH: Program =
    Program::of_tests(&["--workspace", "--example", "launch"], "debug/examples/launch");
/// `engine/examples/kmod_passed.rs`.
pub static KMOD_PASSED: Program = Program::of_tests(
    &["--workspace", "--example", "kmod_passed"],
    "debug/examples/kmod_passed",
);
/// `kmod/tests`.
pub static KMOD_TESTS: Program = Program::of_tests(
    &["--workspace", "--bin", "kmod-tests", "--example", "launch"],
    "debug/kmod-tests",
);

impl Program {
    const fn new(arguments: &'static [&'static str], file: &'static str) -> Self {
        Self {
            arguments,
            file,
            built: Mutex::new(false),
        }
    }

    /// One that is there after the unit tests, or has to be linked at most. Cargo builds crates anew where what they depend on has
    /// other features, and dev-dependencies have a say only where it builds tests or examples: so `--workspace`, and an
    /// example beside each program.
    const fn of_tests(arguments: &'static [&'static str], file: &'static str) -> Self {
        Self::new(arguments, file)
    }

    /// Builds it, if that was not done already.
    pub fn build(&self, paths: &Paths) -> Result<PathBuf> {
        let path = paths.target.join(self.file);
        // A build that panicked was none.
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if *built {
            return Ok(path);
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet"]).args(self.arguments);
        command
            .current_dir(&paths.root)
            .env("CARGO_TARGET_DIR", &paths.target);
        cmd::run(&mut command).with_context(|| format!("cannot build {}", self.file))?;
        *built = true;
        Ok(path)
    }
}
