//! DPDK built for the CPU at hand (AVX-512 where it has it) from the source of Debian's package.

use crate::cmd;
use crate::host::need_packages;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where pkg-config finds the build, below its prefix.
pub const PKG_CONFIG: &str = "lib/pkgconfig";
/// The last one is for linking with libpcap.
const PACKAGES: [&str; 7] = [
    "dpkg-dev",
    "meson",
    "ninja-build",
    "python3-pyelftools",
    "libnuma-dev",
    "xz-utils",
    "libsystemd-dev",
];
/// Only what testpmd on null ports and on sockets takes, without the libraries that DPDK can do without.
const OPTIONS: [&str; 11] = [
    "--buildtype=release",
    "--libdir=lib",
    "-Dplatform=native",
    // virtio-user is a part of virtio, which wants a PCI bus.
    "-Denable_drivers=bus/vdev,bus/pci,mempool/ring,net/null,net/virtio,net/vhost",
    "-Denable_apps=test-pmd",
    // All that are optional in 22.11 but vhost.
    "-Ddisable_libs=bitratestats,cfgfile,flow_classify,gpudev,graph,gro,gso,jobstats,kni,latencystats,metrics,node,pdump,pipeline,port,power,table",
    "-Dtests=false",
    "-Denable_docs=false",
    "-Denable_kmods=false",
    "-Ddeveloper_mode=disabled",
    "--wrap-mode=nodownload",
];
/// The file that says for which CPU a build is; it is written when the build is complete.
const STAMP: &str = "built-for";

/// The directory where the build is installed; builds it first when it is not there, or is for another CPU.
pub fn prefix(paths: &Paths) -> Result<PathBuf> {
    need_packages(&PACKAGES)?;
    let version = cmd::text(Command::new("dpkg-query").args(["-W", "-f", "${source:Version}", "dpdk-dev"]))?;
    // Named after its drivers: one with other drivers may be there from before.
    let prefix = paths.peers.join(format!("dpdk-{version}-native-virtio"));
    // Every option that the compiler derives from the CPU: a cache that moves to another machine is of no use there.
    let cpu = cmd::text(Command::new("cc").args(["-march=native", "-Q", "--help=target"]))?;
    let stamp = prefix.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == cpu) {
        return Ok(prefix);
    }
    if prefix.exists() {
        fs::remove_dir_all(&prefix).with_context(|| format!("cannot remove {}", prefix.display()))?;
    }
    fs::create_dir_all(&paths.peers).with_context(|| format!("cannot make {}", paths.peers.display()))?;
    eprintln!("bench: building DPDK {version} for this CPU; this takes a few minutes, once");
    let work = tempfile::tempdir_in(&paths.peers).context("cannot make a directory in the cache")?;
    let source = source(work.path(), &version)?;
    let build = work.path().join("build");
    let mut meson = Command::new("meson");
    meson
        .arg("setup")
        .arg(format!("--prefix={}", prefix.display()))
        .args(OPTIONS);
    cmd::output(meson.arg(&build).arg(&source))?;
    cmd::output(Command::new("ninja").arg("-C").arg(&build).arg("install"))?;
    fs::write(&stamp, cpu).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(prefix)
}

/// Downloads the source package and unpacks it into `dir`. apt uses lists of its own, so that nothing on the machine changes.
fn source(dir: &Path, version: &str) -> Result<PathBuf> {
    let (parts, lists, cache) = (dir.join("parts"), dir.join("lists"), dir.join("cache"));
    for made in [&parts, &lists.join("partial"), &cache.join("archives/partial")] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    source_lists(&parts)?;
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args([
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Dir::Etc::sourcelist=/dev/null",
        ]);
        for (key, value) in [
            ("Dir::Etc::sourceparts", &parts),
            ("Dir::State::lists", &lists),
            ("Dir::Cache", &cache),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        cmd::output(command.args(args).current_dir(dir)).map(drop)
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", &format!("dpdk={version}")])?;
    let files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let description = files
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "dsc"));
    let description = description.context("apt-get did not leave the source of dpdk")?;
    let tree = dir.join("source");
    // apt has checked the hashes against the signed list.
    let mut unpack = Command::new("dpkg-source");
    unpack
        .args(["--no-check", "--extract"])
        .arg(description)
        .arg(&tree);
    cmd::output(&mut unpack)?;
    Ok(tree)
}

/// Writes the machine's own package sources into `to`, asking for source packages instead of binary ones.
fn source_lists(to: &Path) -> Result<()> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    for file in files {
        let rewrite = match file.extension().and_then(|end| end.to_str()) {
            Some("sources") => of_deb822,
            Some("list") => of_one_line,
            _ => continue,
        };
        let Ok(text) = fs::read_to_string(&file) else {
            continue; // there is not always a sources.list
        };
        let copy = to.join(file.file_name().unwrap_or_default());
        fs::write(&copy, rewrite(&text)).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

fn of_deb822(text: &str) -> String {
    let line = |line: &str| match line.to_ascii_lowercase().starts_with("types:") {
        true => "Types: deb-src\n".to_owned(),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn of_one_line(text: &str) -> String {
    let line = |line: &str| Some(format!("deb-src {}\n", line.trim().strip_prefix("deb ")?));
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_packages_become_sources_of_source() {
        let text = "Types: deb\n# a comment\nURIs: http://b.example/debian\nSuites: bookworm\n";
        let wanted = "Types: deb-src\n# a comment\nURIs: http://b.example/debian\nSuites: bookworm\n";
        assert_eq!(of_deb822(text), wanted);
        let text = "# deb http://no.example x main\ndeb-src http://s.example x main\n deb [arch=amd64] http://b.example x main\n";
        assert_eq!(
            of_one_line(text),
            "deb-src [arch=amd64] http://b.example x main\n"
        );
    }
}
