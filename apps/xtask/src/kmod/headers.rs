//! Kernel headers for building a module, fetched as Debian packages and unpacked without being installed.

use crate::cmd;
use crate::host::{self, Missing};
use crate::paths::Paths;
use crate::vm::kernel::{Kernel, Series};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File whose presence says that the directory is complete.
const STAMP: &str = "complete";
/// Where the packages put headers.
const USR_SRC: &str = "/usr/src";

/// The directory of headers for a kernel, or how to get it.
pub fn need(paths: &Paths, kernel: &Kernel) -> Result<PathBuf> {
    cached(paths, kernel).ok_or_else(|| {
        let lack = format!(
            "headers of the kernel {}: run `cargo xtask setup`",
            kernel.release
        );
        Missing(vec![lack]).into()
    })
}

/// The directory to build modules against, when it is in the cache.
pub fn cached(paths: &Paths, kernel: &Kernel) -> Option<PathBuf> {
    if kernel.series == Series::Debug {
        return super::debug::build_dir(paths);
    }
    let root = root(paths, kernel);
    root.join(STAMP).exists().then(|| flavour(&root, kernel))
}

/// Fetches the headers of a kernel and what they are built with.
pub fn fetch(paths: &Paths, kernel: &Kernel) -> Result<()> {
    let package = format!("linux-headers-{}", kernel.release);
    println!("setup: headers {}: {package}", kernel.series);
    let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
    host::download_package(&package, work.path())?;
    for other in companions(&package)? {
        host::download_package(&other, work.path())?;
    }
    let root = root(paths, kernel);
    redirect(&flavour(work.path(), kernel).join("Makefile"), &root)?;
    fs::write(work.path().join(STAMP), "")?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::rename(work.keep(), &root).with_context(|| format!("cannot move the headers to {}", root.display()))
}

fn root(paths: &Paths, kernel: &Kernel) -> PathBuf {
    paths.cache.join(format!("headers-{}", kernel.release))
}

fn flavour(root: &Path, kernel: &Kernel) -> PathBuf {
    root.join("usr/src")
        .join(format!("linux-headers-{}", kernel.release))
}

/// The packages with the common headers and with the build's own programs.
fn companions(package: &str) -> Result<Vec<String>> {
    let text = cmd::text(Command::new("apt-cache").args(["depends", package]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.ends_with("-common") || name.starts_with("linux-kbuild-"))
        .map(str::to_owned)
        .collect())
}

/// The flavour's Makefile is a line that includes the common one by its installed name.
fn redirect(makefile: &Path, root: &Path) -> Result<()> {
    let text = fs::read_to_string(makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
    let here = root.join("usr/src");
    fs::write(makefile, text.replace(USR_SRC, &here.to_string_lossy()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_makefile_points_into_the_cache() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("Makefile");
        fs::write(&file, "include /usr/src/linux-headers-1-common/Makefile\n").expect("written");
        redirect(&file, Path::new("/c/headers-1")).expect("redirected");
        let text = fs::read_to_string(&file).expect("read");
        assert_eq!(
            text,
            "include /c/headers-1/usr/src/linux-headers-1-common/Makefile\n"
        );
    }
}
