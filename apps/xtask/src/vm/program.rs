//! Programs of the workspace for a guest, built as all else is: none of what they depend on is built twice for them. Their
//! libraries go with them ([`super::dynamic`]).

use crate::cmd;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A program of the workspace.
pub struct Program {
    /// What cargo is told to build.
    arguments: &'static [&'static str],
    /// Where that ends up, below the target's directory.
    file: &'static str,
}

impl Program {
    /// The forwarder, as a user builds it.
    pub const L2FWD: Self = Self {
        arguments: &["--release", "-p", "l2fwd"],
        file: "release/l2fwd",
    };
    /// What lists the machine's ports. As the unit tests are built, and with the same features (`--workspace`).
    pub const BARLINE: Self = Self {
        arguments: &["--workspace", "--bin", "barline"],
        file: "debug/barline",
    };
    /// `engine/examples/vfio_probe.rs`. Like those below as the unit tests are built, and with the same features of what it
    /// depends on (`--workspace`): after them it is there.
    pub const VFIO_PROBE: Self = Self {
        arguments: &["--workspace", "--example", "vfio_probe"],
        file: "debug/examples/vfio_probe",
    };
    /// `engine/examples/launch.rs`.
    pub const LAUNCH: Self = Self {
        arguments: &["--workspace", "--example", "launch"],
        file: "debug/examples/launch",
    };
    /// `engine/examples/kmod_passed.rs`.
    pub const KMOD_PASSED: Self = Self {
        arguments: &["--workspace", "--example", "kmod_passed"],
        file: "debug/examples/kmod_passed",
    };
    /// `kmod/tests`.
    pub const KMOD_TESTS: Self = Self {
        arguments: &["--workspace", "--bin", "kmod-tests"],
        file: "debug/kmod-tests",
    };

    /// Builds it.
    pub fn build(&self, paths: &Paths) -> Result<PathBuf> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet"]).args(self.arguments);
        command
            .current_dir(&paths.root)
            .env("CARGO_TARGET_DIR", &paths.target);
        cmd::run(&mut command).with_context(|| format!("cannot build {} for the guest", self.file))?;
        Ok(paths.target.join(self.file))
    }
}
