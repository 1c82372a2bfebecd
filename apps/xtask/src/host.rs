//! What the machine must have for VM tests, and getting it on Debian and Ubuntu.

mod busybox;
mod packages;
mod qemu;
mod suite;

use crate::kmod::{headers, lint};
use crate::paths::{Paths, on_path};
use crate::vm::kernel::{Kernel, Series};
use anyhow::{Context, Result};
use busybox::{busybox, fetch_busybox};
use packages::{apt, can_download, install};
pub use packages::{can_install, download_package, need_package, need_packages};
use qemu::{install_qemu, qemu, qemu_version};
use std::fmt;
use std::fs;
use std::path::PathBuf;
pub use suite::Suite;

/// The machine lacks something that `setup` cannot get: exit code 3, not a failed test.
#[derive(Debug)]
pub struct Missing(pub Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine lacks: {}", self.0.join("; "))
    }
}

impl std::error::Error for Missing {}

/// What was asked for is wrong: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What VM runs use on the host.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The QEMU to run.
    pub qemu: PathBuf,
    /// A statically linked busybox for the guest.
    pub busybox: PathBuf,
}

impl Tools {
    /// The tools, or what is missing and how to get it.
    pub fn find(paths: &Paths) -> Result<Self> {
        let mut missing = Vec::new();
        let qemu = qemu();
        if let Err(why) = &qemu {
            missing.push(format!("{why:#}"));
        }
        if !on_path("setpriv") {
            missing.push("setpriv: install the package util-linux".to_owned());
        }
        let busybox = busybox(paths);
        if busybox.is_none() {
            missing.push(
                "a static busybox: run `cargo xtask setup`, or install the package busybox-static".to_owned(),
            );
        }
        match (qemu, busybox) {
            (Ok(qemu), Some(busybox)) if missing.is_empty() => Ok(Self { qemu, busybox }),
            _ => Err(Missing(missing).into()),
        }
    }
}

/// Gets everything VM tests need. Quick when it is all there; `update` looks for newer kernels.
pub fn setup(paths: &Paths, update: bool) -> Result<()> {
    fs::create_dir_all(&paths.cache).with_context(|| format!("cannot make {}", paths.cache.display()))?;
    let wanted: Vec<Series> = Series::STOCK
        .into_iter()
        .filter(|series| update || Kernel::cached(paths, *series).is_none())
        .collect();
    let packages = missing_packages();
    let tools = Tools::find(paths);
    if wanted.is_empty() && packages.is_empty() && tools.is_ok() && kmod_lacks(paths).is_empty() {
        fetch_newest(paths, update);
        println!("setup: complete ({})", describe(paths)?);
        return Ok(());
    }
    if can_install() {
        apt(&["update"])?;
        if !packages.is_empty() {
            install(&packages, None)?;
        }
        if qemu().is_err() {
            install_qemu()?;
        }
    } else if !packages.is_empty() || qemu().is_err() || !can_download() {
        return Err(cannot_install(&wanted, &packages, tools.err(), kmod_lacks(paths)));
    }
    // The rest is only unpacked into the cache, which any user may do.
    if busybox(paths).is_none() {
        fetch_busybox(paths)?;
    }
    let mut missing = Vec::new();
    for series in wanted {
        // A kernel that this release of the distribution does not have is no reason to do without the other.
        match Kernel::fetch(paths, series).with_context(|| format!("cannot get a kernel {series}")) {
            Ok(_) => {}
            Err(error) if error.is::<Missing>() => missing.push(error.root_cause().to_string()),
            Err(error) => return Err(error),
        }
    }
    setup_kmod(paths)?;
    fetch_newest(paths, update);
    if !missing.is_empty() {
        return Err(Missing(missing).into());
    }
    println!("setup: complete ({})", describe(paths)?);
    Ok(())
}

/// The newest kernel, where it is to be had: few scenarios need it, and they say so.
fn fetch_newest(paths: &Paths, update: bool) {
    if !can_download() || !update && Kernel::cached(paths, Series::Newest).is_some() {
        return;
    }
    if let Err(error) = Kernel::fetch(paths, Series::Newest) {
        println!("setup: no kernel {}: {error:#}", Series::Newest);
    }
}

/// What building and checking the kernel module lacks in the cache.
fn kmod_lacks(paths: &Paths) -> Vec<String> {
    let kernels = Series::STOCK
        .into_iter()
        .filter_map(|series| Kernel::cached(paths, series));
    let mut lacks: Vec<String> = kernels
        .filter(|kernel| headers::cached(paths, kernel).is_none())
        .map(|kernel| format!("headers of the kernel {} in the cache", kernel.release))
        .collect();
    if lint::cached_scripts(paths).is_none() {
        lacks.push("the kernel's checkers in the cache".to_owned());
    }
    lacks
}

/// Headers for the kernels that are there, and the kernel's checkers.
fn setup_kmod(paths: &Paths) -> Result<()> {
    for kernel in Series::STOCK
        .into_iter()
        .filter_map(|series| Kernel::cached(paths, series))
    {
        if headers::cached(paths, &kernel).is_none() {
            headers::fetch(paths, &kernel)
                .with_context(|| format!("cannot get headers of the kernel {}", kernel.release))?;
        }
    }
    if lint::cached_scripts(paths).is_none() {
        lint::fetch_scripts(paths).context("cannot get the kernel's checkers")?;
    }
    Ok(())
}

/// Says what a person would have to provide.
fn cannot_install(
    wanted: &[Series],
    packages: &[&str],
    tools: Option<anyhow::Error>,
    kmod_lacks: Vec<String>,
) -> anyhow::Error {
    let mut missing = vec!["root on Debian 12 or newer, where `cargo xtask setup` gets the rest".to_owned()];
    missing.extend(packages.iter().map(|package| format!("the package {package}")));
    match tools.map(anyhow::Error::downcast::<Missing>) {
        Some(Ok(lacks)) => missing.extend(lacks.0),
        Some(Err(other)) => missing.push(format!("{other:#}")),
        None => {}
    }
    missing.extend(kmod_lacks);
    missing.extend(
        wanted
            .iter()
            .map(|series| format!("a kernel {series} in the cache")),
    );
    Missing(missing).into()
}

fn describe(paths: &Paths) -> Result<String> {
    let tools = Tools::find(paths)?;
    let (major, minor) = qemu_version(&tools.qemu)?;
    let kernels: Vec<String> = [&Series::ALL[..], &[Series::Newest]]
        .concat()
        .into_iter()
        .filter_map(|series| Kernel::cached(paths, series))
        .map(|kernel| kernel.release)
        .collect();
    Ok(format!("QEMU {major}.{minor}, kernels {}", kernels.join(" and ")))
}

/// Packages with the programs that unpacking kernels and building the kernel module take.
fn missing_packages() -> Vec<&'static str> {
    let needs = [
        ("xz", "xz-utils"),
        ("zstd", "zstd"),
        ("setpriv", "util-linux"),
        ("make", "make"),
        ("gcc-12", "gcc-12"),
        ("perl", "perl"),
        ("sparse", "sparse"),
        ("spatch", "coccinelle"),
    ];
    needs
        .into_iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| package)
        .collect()
}
