//! Packages of Debian and its children.

use super::{Missing, Suite};
use crate::cmd;
use crate::paths::on_path;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Whether `setup` can install packages here: root on Debian or one of its children.
pub fn can_install() -> bool {
    nix::unistd::Uid::effective().is_root() && can_download()
}

/// Whether packages can be downloaded here: by any user on Debian or one of its children.
pub fn can_download() -> bool {
    on_path("apt-get") && on_path("dpkg")
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

pub fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    eprintln!("setup: installing {}", packages.join(" "));
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    if let Some(suite) = suite {
        args.extend(["-t", suite]);
    }
    args.extend(packages);
    apt(&args)
}

pub fn apt(args: &[&str]) -> Result<()> {
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
