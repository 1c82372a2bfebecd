//! What the machine must have for VM tests, and getting it on Debian and Ubuntu.

mod suite;

use crate::cmd;
use crate::kmod::{headers, lint};
use crate::paths::{Paths, on_path};
use crate::vm::kernel::{Kernel, Series};
use anyhow::{Context, Result, bail};
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
pub use suite::Suite;
use suite::{codename, source_of};

/// The oldest QEMU with an `igb` device.
const QEMU_MIN: (u32, u32) = (8, 2);
/// The extra package source, when the machine's own suites have only an older QEMU.
const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/barline-backports.sources";

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

/// Whether `setup` can install packages here: root on Debian or one of its children.
pub fn can_install() -> bool {
    nix::unistd::Uid::effective().is_root() && can_download()
}

/// Whether packages can be downloaded here: by any user on Debian or one of its children.
fn can_download() -> bool {
    on_path("apt-get") && on_path("dpkg")
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

/// A QEMU that has what the tests use; `BARLINE_QEMU` names another than the one on the path.
fn qemu() -> Result<PathBuf> {
    let path = env::var_os("BARLINE_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into());
    let path = PathBuf::from(path);
    let remedy = "run `cargo xtask setup` as root, or set BARLINE_QEMU to one";
    let (major, minor) = qemu_version(&path).with_context(|| format!("QEMU for x86-64: {remedy}"))?;
    if (major, minor) < QEMU_MIN {
        bail!(
            "QEMU {}.{} or newer (this is {major}.{minor}): {remedy}",
            QEMU_MIN.0,
            QEMU_MIN.1
        );
    }
    let devices = cmd::text(Command::new(&path).args(["-device", "help"]))?;
    for device in ["igb", "intel-iommu", "isa-debug-exit"] {
        if !devices.contains(&format!("\"{device}\"")) {
            bail!("a QEMU with the device {device}: {remedy}");
        }
    }
    Ok(path)
}

fn qemu_version(path: &Path) -> Result<(u32, u32)> {
    let text = cmd::text(Command::new(path).arg("--version"))?;
    parse_version(&text).with_context(|| format!("{} does not tell its version", path.display()))
}

/// Major and minor number after the word `version`, or at the start of a package version.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let rest = text.split_once("version ").map_or(text, |(_, rest)| rest);
    // A Debian version may begin with an epoch.
    let rest = rest
        .split_once(':')
        .filter(|(epoch, _)| epoch.bytes().all(|b| b.is_ascii_digit()))
        .map_or(rest, |(_, r)| r);
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Installs the machine's own QEMU when it is new enough, else the one of the backports suite.
fn install_qemu() -> Result<()> {
    let package = "qemu-system-x86";
    let policy = cmd::text(Command::new("apt-cache").args(["policy", package]))?;
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "));
    if candidate
        .and_then(parse_version)
        .is_some_and(|version| version >= QEMU_MIN)
    {
        return install(&[package], None);
    }
    let codename = codename().context("install a QEMU 8.2 or newer by hand")?;
    let suite = format!("{codename}-backports");
    let has_suite =
        policy.contains(&suite) || cmd::text(Command::new("apt-cache").arg("policy"))?.contains(&suite);
    if !has_suite {
        let source = source_of(&suite)?;
        println!("setup: adding the suite {suite} in {BACKPORTS_FILE}");
        fs::write(BACKPORTS_FILE, source).with_context(|| format!("cannot write {BACKPORTS_FILE}"))?;
        apt(&["update"])?;
    }
    install(&[package], Some(&suite))
}

/// Installs a package where that is possible; says what is missing where it is not.
pub fn need_package(package: &str) -> Result<()> {
    need_packages(&[package])
}

/// Installs those packages that are not there; says which are missing where that is not possible.
pub fn need_packages(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !can_install() {
        let names = missing.join(" ");
        return Err(Missing(vec![format!(
            "the packages {names}: `apt-get install {names}` on Debian 12 as root"
        )])
        .into());
    }
    apt(&["update"])?;
    install(&missing, None)
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    let status = cmd::text(query.args(["-W", "-f", "${Status}", package]));
    status.is_ok_and(|status| status.ends_with(" installed"))
}

fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    eprintln!("setup: installing {}", packages.join(" "));
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    if let Some(suite) = suite {
        args.extend(["-t", suite]);
    }
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    // Another apt may be at work on the machine: wait for it instead of failing.
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    cmd::output(&mut command).map(drop)
}

/// Downloads a package and unpacks it into `dir`; nothing on the machine changes.
pub fn download_package(package: &str, dir: &Path) -> Result<()> {
    Suite::own().download(package, dir)
}

fn busybox(paths: &Paths) -> Option<PathBuf> {
    [paths.cache.join("busybox"), PathBuf::from("/bin/busybox")]
        .into_iter()
        .find(|path| is_static(path))
}

/// Takes busybox-static into the cache: installing it would replace a dynamic busybox that something needs.
fn fetch_busybox(paths: &Paths) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_programs_and_packages() {
        assert_eq!(
            parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0)"),
            Some((10, 0))
        );
        assert_eq!(parse_version("1:7.2+dfsg-7+deb12u18"), Some((7, 2)));
        assert_eq!(parse_version("(none)"), None);
    }
}
