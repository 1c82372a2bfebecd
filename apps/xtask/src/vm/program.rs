//! Programs of the workspace for a guest, which has no shared libraries.

use crate::cmd;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The target that a static program is built for; named, so that build scripts are not built statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

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
    /// `engine/examples/vfio_probe.rs`. Not optimised for size or speed: built in a third of the time.
    pub const VFIO_PROBE: Self = Self {
        arguments: &["-p", "barline", "--example", "vfio_probe"],
        file: "debug/examples/vfio_probe",
    };
    /// `engine/examples/launch.rs`.
    pub const LAUNCH: Self = Self {
        arguments: &["-p", "barline", "--example", "launch"],
        file: "debug/examples/launch",
    };
    /// `engine/examples/kmod_passed.rs`.
    pub const KMOD_PASSED: Self = Self {
        arguments: &["-p", "barline", "--example", "kmod_passed"],
        file: "debug/examples/kmod_passed",
    };
    /// `kmod/tests`.
    pub const KMOD_TESTS: Self = Self {
        arguments: &["-p", "kmod-tests"],
        file: "debug/kmod-tests",
    };

    /// Builds it without need of shared libraries.
    pub fn build(&self, paths: &Paths) -> Result<PathBuf> {
        let target = paths.target.join("vm-build");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["build", "--quiet", "--target", TARGET])
            .args(self.arguments);
        command.current_dir(&paths.root).env("CARGO_TARGET_DIR", &target);
        command
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        cmd::run(&mut command).with_context(|| format!("cannot build {} for the guest", self.file))?;
        Ok(target.join(TARGET).join(self.file))
    }
}
