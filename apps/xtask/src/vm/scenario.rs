//! What a VM scenario is and how one is run.

mod basic;
mod table;

use super::kernel::{Kernel, Series};
use super::qemu::Check;
use crate::host::Tools;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
pub use table::SCENARIOS;

/// What a scenario does.
type Run = fn(&Bed<'_>) -> Result<Vec<Check>>;

/// What a scenario works with.
pub struct Bed<'a> {
    /// Directories of the workspace.
    pub paths: &'a Paths,
    /// Programs of the host.
    pub tools: &'a Tools,
    /// Kernel to run on.
    pub kernel: Kernel,
    /// Output directory of this run: logs, frames.
    pub dir: PathBuf,
}

/// A test that runs in a guest, on several kernels.
pub struct Scenario {
    /// Name; the kernel series is appended for a run.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Kernels it runs on.
    pub kernels: &'static [Series],
    run: Run,
}

impl Scenario {
    /// Name of the run on a kernel series.
    pub fn run_name(&self, series: Series) -> String {
        format!("{}-{series}", self.name)
    }

    /// Runs it with a fresh output directory.
    pub fn run(&self, paths: &Paths, tools: &Tools, kernel: Kernel, series: Series) -> Result<Vec<Check>> {
        let dir = paths.run_dir(&self.run_name(series));
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let checks = (self.run)(&Bed {
            paths,
            tools,
            kernel,
            dir: dir.clone(),
        })?;
        // The archive is large and made again each time.
        fs::remove_file(dir.join("initrd.cpio")).ok();
        Ok(checks)
    }
}
