//! DPDK's testpmd for a guest: the program and its libraries, taken from the host's packages.

use super::dynamic::{name_of, with_libraries};
use crate::cmd;
use crate::host::{self, Missing};
use crate::paths::on_path;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's package with testpmd; it needs the ones with the drivers.
const PACKAGE: &str = "dpdk-dev";
const PROGRAM: &str = "/usr/bin/dpdk-testpmd";
/// What testpmd must load besides the libraries it is linked with: the drivers, their bus, and where packets come from.
const PLUGINS: [&str; 4] = [
    "librte_bus_pci.so",
    "librte_mempool_ring.so",
    "librte_net_e1000.so",
    "librte_net_virtio.so",
];

/// testpmd and everything it loads.
pub struct Testpmd {
    /// The program, the dynamic linker, libraries and plug-ins; no two have the same name.
    pub files: Vec<PathBuf>,
    /// Names of the plug-ins.
    pub plugins: Vec<String>,
    /// What it is, for a table: `dpdk-22.11-debian`.
    pub name: String,
}

impl Testpmd {
    /// Finds it on the host and installs its package where it is not there.
    pub fn find() -> Result<Self> {
        if !on_path("dpdk-testpmd") {
            host::need_package(PACKAGE)?;
        }
        let program = PathBuf::from(PROGRAM);
        let plugins: Vec<PathBuf> = PLUGINS.iter().map(|name| plugin(name)).collect::<Result<_>>()?;
        let loaded: Vec<PathBuf> = plugins.iter().cloned().chain([program]).collect();
        Ok(Self {
            files: with_libraries(&loaded),
            plugins: plugins.iter().map(|file| name_of(file)).collect(),
            name: name(),
        })
    }
}

/// The plug-in of this name and of the version that is installed, in the directory of that version.
fn plugin(name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}.");
    let mut found: Vec<PathBuf> = entries(Path::new("/usr/lib"))
        .into_iter()
        .flat_map(|dir| entries(&dir.join("dpdk")))
        .flat_map(|dir| entries(&dir))
        // librte_net_e1000.so.23 is what other plug-ins ask for; .so and .so.23.0 are the same file.
        .filter(|file| name_of(file).strip_prefix(&prefix).is_some_and(is_number))
        .collect();
    found.sort();
    let lack = || {
        Missing(vec![format!(
            "DPDK's plug-in {name}: install the package {PACKAGE}"
        )])
    };
    found.pop().with_context(lack)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map_or_else(
        |_| Vec::new(),
        |entries| entries.flatten().map(|entry| entry.path()).collect(),
    )
}

/// Major and minor number of the package, and whose build it is.
fn name() -> String {
    let version = cmd::text(Command::new("dpkg-query").args(["-W", "-f", "${Version}", PACKAGE]));
    let version = version.unwrap_or_default();
    let short: Vec<&str> = version.split('.').take(2).collect();
    if short.len() < 2 {
        "dpdk".to_owned()
    } else {
        format!("dpdk-{}-debian", short.join("."))
    }
}
