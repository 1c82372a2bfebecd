//! The kernel module: headers, builds, static checks, the debug kernel.

pub mod build;
pub mod debug;
pub mod headers;
pub mod lint;

use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// The module's sources in the workspace.
pub fn source(paths: &Paths) -> PathBuf {
    paths.root.join("kmod")
}

/// C files and headers of the module, its policy and its interface, sorted.
pub fn c_files(paths: &Paths) -> Result<Vec<PathBuf>> {
    let root = source(paths);
    let mut files = Vec::new();
    for dir in ["", "policy", "include/uapi"] {
        let dir = root.join(dir);
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let file = entry?.path();
            if file.extension().is_some_and(|ext| ext == "c" || ext == "h") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}
