//! The modules of a kernel package: those that guests load, and what they depend on.

use crate::cmd;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules a guest may load; what they depend on comes along.
pub const WANTED: &[&str] = &[
    "vfio-pci",
    "vfio_iommu_type1",
    "igb",
    "e1000e",
    "vmxnet3",
    "virtio_net",
    "virtio_pci",
    "bridge",
    "vhost_net",
    "tun",
];

/// The modules of an unpacked kernel package.
pub struct Modules {
    /// Normalised name to file.
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    builtin_list: String,
}

impl Modules {
    /// Reads what the package has.
    pub fn index(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut open = vec![dir.join("kernel")];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    files.insert(module_name(&entry.path()), entry.path());
                }
            }
        }
        let builtin_list = fs::read_to_string(dir.join("modules.builtin")).context("no modules.builtin")?;
        let builtin = builtin_list
            .lines()
            .map(|line| module_name(Path::new(line)))
            .collect();
        Ok(Self {
            files,
            builtin,
            builtin_list,
        })
    }

    /// Writes the wanted modules, decompressed, and the index that modprobe reads.
    pub fn write(&self, out: &Path) -> Result<()> {
        let dir = out.join("modules");
        fs::create_dir(&dir)?;
        let mut depends: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut open: Vec<String> = WANTED.iter().map(|name| normal(name)).collect();
        while let Some(name) = open.pop() {
            if depends.contains_key(&name) || self.builtin.contains(&name) {
                continue;
            }
            let file = self
                .files
                .get(&name)
                .with_context(|| format!("the kernel has no module {name}"))?;
            let bytes = read_module(file)?;
            let needs = dependencies(&bytes);
            open.extend(needs.iter().cloned());
            fs::write(dir.join(format!("{name}.ko")), bytes)?;
            depends.insert(name, needs);
        }
        fs::write(dir.join("modules.dep"), modules_dep(&depends))?;
        fs::write(dir.join("modules.builtin"), &self.builtin_list)?;
        Ok(())
    }
}

/// modprobe wants every dependency of a module in its line, the ones to load first last.
fn modules_dep(depends: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::new();
    for name in depends.keys() {
        let mut order = Vec::new();
        load_order(depends, name, &mut order);
        order.reverse();
        let rest: Vec<String> = order.iter().skip(1).map(|need| format!(" {need}.ko")).collect();
        text.push_str(&format!("{name}.ko:{}\n", rest.concat()));
    }
    text
}

fn load_order(depends: &BTreeMap<String, Vec<String>>, name: &str, order: &mut Vec<String>) {
    if order.iter().any(|seen| seen == name) {
        return;
    }
    let Some(needs) = depends.get(name) else { return };
    for need in needs {
        load_order(depends, need, order);
    }
    order.push(name.to_owned());
}

fn read_module(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match file.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => cmd::filter(Command::new("xz").arg("-dc"), bytes),
        Some("zst") => cmd::filter(Command::new("zstd").arg("-dc"), bytes),
        Some("gz") => cmd::filter(Command::new("gzip").arg("-dc"), bytes),
        _ => Ok(bytes),
    }
}

/// The names in a module's `depends=` entry: Debian's packages have no `modules.dep` before installation.
fn dependencies(module: &[u8]) -> Vec<String> {
    let tag = b"\0depends=";
    let Some(at) = module.windows(tag.len()).position(|window| window == tag) else {
        return Vec::new();
    };
    let rest = &module[at + tag.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let names = String::from_utf8_lossy(&rest[..end]).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(normal)
        .collect()
}

fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    normal(file.split(".ko").next().unwrap_or_default())
}

/// The kernel takes `-` and `_` in module names for the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(
            dependencies(b"x\0license=GPL\0depends=dca,i2c-algo-bit\0name=igb\0"),
            ["dca", "i2c_algo_bit"]
        );
        assert!(dependencies(b"x\0depends=\0name=a\0").is_empty());
        assert!(dependencies(b"nothing").is_empty());
    }

    #[test]
    fn modules_dep_lists_the_deepest_last() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let depends = BTreeMap::from([
            ("a".to_owned(), list(&["b", "c"])),
            ("b".to_owned(), list(&["c"])),
            ("c".to_owned(), list(&[])),
        ]);
        assert_eq!(modules_dep(&depends), "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n");
    }
}
