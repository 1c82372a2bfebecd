//! A QEMU that is new enough.

use super::packages::{apt, install};
use super::suite::{codename, source_of};
use crate::cmd;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest QEMU with an `igb` device.
const QEMU_MIN: (u32, u32) = (8, 2);
/// The extra package source, when the machine's own suites have only an older QEMU.
const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/barline-backports.sources";

/// A QEMU that has what the tests use; `BARLINE_QEMU` names another than the one on the path.
pub fn qemu() -> Result<PathBuf> {
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

pub fn qemu_version(path: &Path) -> Result<(u32, u32)> {
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
pub fn install_qemu() -> Result<()> {
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
