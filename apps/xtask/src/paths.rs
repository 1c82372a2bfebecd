//! Where the workspace, its build output and its cache are.

use std::env;
use std::path::{Path, PathBuf};

/// The directories that tasks read and write.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Root of the workspace.
    pub root: PathBuf,
    /// Cargo's output directory.
    pub target: PathBuf,
    /// Things fetched once and kept (kernels, busybox).
    pub cache: PathBuf,
    /// Programs to compare with that were built here.
    pub peers: PathBuf,
}

impl Paths {
    /// Finds the directories; `CARGO_TARGET_DIR` and `BARLINE_CACHE` move the latter two.
    pub fn find() -> Self {
        // Cargo sets the variable when it runs us; the constant serves a binary started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.ancestors().nth(2).unwrap_or(&manifest).to_path_buf();
        let or = |name: &str, default: &str| {
            let set = env::var_os(name).filter(|value| !value.is_empty());
            set.map_or_else(|| root.join(default), |value| root.join(PathBuf::from(value)))
        };
        Self {
            target: or("CARGO_TARGET_DIR", "target"),
            cache: or("BARLINE_CACHE", ".cache").join("vm"),
            peers: or("BARLINE_CACHE", ".cache").join("peers"),
            root,
        }
    }

    /// Output directory of the VM run `name`.
    pub fn run_dir(&self, name: &str) -> PathBuf {
        self.target.join("vm").join(name)
    }
}

/// Whether a program of this name is on the search path.
pub fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| is_file(&dir.join(program))))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}
