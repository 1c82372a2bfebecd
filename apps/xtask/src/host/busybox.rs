//! A busybox for guests.

use super::packages::download_package;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

pub fn busybox(paths: &Paths) -> Option<PathBuf> {
    [paths.cache.join("busybox"), PathBuf::from("/bin/busybox")]
        .into_iter()
        .find(|path| is_static(path))
}

/// Takes busybox-static into the cache: installing it would replace a dynamic busybox that something needs.
pub fn fetch_busybox(paths: &Paths) -> Result<()> {
    println!("setup: busybox-static");
    let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
    download_package("busybox-static", work.path())?;
    let found = ["bin/busybox", "usr/bin/busybox"]
        .into_iter()
        .map(|name| work.path().join(name))
        .find(|p| p.exists());
    fs::rename(
        found.context("the package busybox-static has no busybox")?,
        paths.cache.join("busybox"),
    )?;
    Ok(())
}

/// Whether a file is a 64-bit ELF program that asks for no dynamic linker (no PT_INTERP segment).
fn is_static(path: &Path) -> bool {
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, len: usize| {
        let raw = bytes.get(at..at + len)?;
        Some(
            raw.iter()
                .rev()
                .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)),
        )
    };
    let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    let dynamic = (0..count).any(|i| {
        let at = start.saturating_add(i * size);
        bytes
            .get(at..at.saturating_add(4))
            .is_none_or(|kind| kind == PT_INTERP)
    });
    bytes.starts_with(b"\x7fELF\x02") && !dynamic
}
