//! What the machine must have for VM tests, and getting it on Debian and Ubuntu.

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
    if !missing.is_empty() {
        return Err(Missing(missing).into());
    }
    println!("setup: complete ({})", describe(paths)?);
    Ok(())
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
    let kernels: Vec<String> = Series::ALL
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
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release has no VERSION_CODENAME: install a QEMU 8.2 or newer by hand")?;
    let suite = format!("{}-backports", codename.trim_matches('"'));
    let has_suite =
        policy.contains(&suite) || cmd::text(Command::new("apt-cache").arg("policy"))?.contains(&suite);
    if !has_suite {
        let source = backports_source(&suite, codename)?;
        println!("setup: adding the suite {suite} in {BACKPORTS_FILE}");
        fs::write(BACKPORTS_FILE, source).with_context(|| format!("cannot write {BACKPORTS_FILE}"))?;
        apt(&["update"])?;
    }
    install(&[package], Some(&suite))
}

/// The source entry of a suite on the mirror that this machine uses for its main one.
fn backports_source(suite: &str, codename: &str) -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mirror = match file.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => mirror_deb822(&text, codename),
            Some("list") => mirror_one_line(&text, codename),
            _ => None,
        };
        if let Some(mirror) = mirror {
            return Ok(mirror.source(suite));
        }
    }
    bail!(
        "no apt source of the suite {codename} on this machine: add one of {suite} by hand, then run this again"
    )
}

/// Where packages come from and which key signs them.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Mirror {
    fn source(&self, suite: &str) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n",
            self.uri
        );
        if let Some(key) = &self.signed_by {
            text.push_str(&format!("Signed-By: {key}\n"));
        }
        text
    }
}

/// Finds a suite in a deb822 file: paragraphs of `Field: value` with continuation lines.
fn mirror_deb822(text: &str, codename: &str) -> Option<Mirror> {
    text.split("\n\n").find_map(|paragraph| {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field = |name: &str| {
            fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.as_str())
        };
        let suites = field("suites")?;
        let disabled = field("enabled").is_some_and(|value| value == "no");
        if disabled || !suites.split_whitespace().any(|suite| suite == codename) {
            return None;
        }
        let uri = field("uris")?.split_whitespace().next()?.to_owned();
        Some(Mirror {
            uri,
            signed_by: field("signed-by").map(str::to_owned),
        })
    })
}

/// Finds a suite in a file of `deb [options] URI SUITE COMPONENT...` lines.
fn mirror_one_line(text: &str, codename: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        (words.next()? == codename).then(|| Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    })
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
    // As root, apt would drop its rights for the download and could then not write here.
    let mut command = Command::new("apt-get");
    cmd::output(
        command
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(dir),
    )?;
    let deb = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .with_context(|| format!("apt-get did not leave the package {package}"))?;
    cmd::output(Command::new("dpkg").arg("-x").arg(&deb).arg(dir))?;
    fs::remove_file(deb)?;
    Ok(())
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

    #[test]
    fn mirror_is_taken_from_deb822_sources() {
        let text = "Types: deb\nURIs: http://a.example/x\nSuites: other\n\n\
                    # comment\nTypes: deb\nURIs: http://b.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n";
        let mirror = mirror_deb822(text, "bookworm").expect("a mirror");
        assert_eq!(
            mirror.source("bookworm-backports"),
            "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: /usr/share/keyrings/k.gpg\n"
        );
        assert_eq!(mirror_deb822(text, "trixie"), None);
    }

    #[test]
    fn mirror_is_taken_from_one_line_sources() {
        let text = "# deb http://no.example x main\ndeb-src http://s.example bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian bookworm main contrib\n";
        let mirror = mirror_one_line(text, "bookworm").expect("a mirror");
        assert_eq!(
            mirror,
            Mirror {
                uri: "http://b.example/debian".into(),
                signed_by: Some("/k.gpg".into())
            }
        );
    }
}
