//! Which PCI functions there are, as sysfs tells.

use crate::pci::{PciAddress, PciId};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel's file systems are mounted; elsewhere than usual in a container, or in a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// sysfs.
    pub sys: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
    /// procfs; only read to name the process that holds a device.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
            proc: "/proc".into(),
        }
    }
}

impl Roots {
    /// The sysfs directory of a function.
    pub fn device(&self, address: PciAddress) -> PathBuf {
        self.sys.join("bus/pci/devices").join(address.to_string())
    }
}

/// A PCI function of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub address: PciAddress,
    /// What it is.
    pub id: PciId,
    /// The kernel driver that holds it.
    pub driver: Option<String>,
    /// Its IOMMU group; none where the IOMMU is off.
    pub iommu_group: Option<u32>,
    /// The memory node it hangs on, where the machine has several.
    pub numa_node: Option<u32>,
    /// The kernel's network interfaces on it.
    pub interfaces: Vec<String>,
}

/// Lists the PCI functions in rising order of address. One that cannot be read (it is being removed) is left out.
///
/// # Errors
/// The list itself cannot be read: no sysfs, or no PCI.
pub fn scan(roots: &Roots) -> io::Result<Vec<Found>> {
    let entries = fs::read_dir(roots.sys.join("bus/pci/devices"))?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Found> = names.filter_map(|address| read(roots, address)).collect();
    found.sort_by_key(|function| function.address);
    Ok(found)
}

/// One function; `None` where there is none or its ids cannot be read.
pub fn read(roots: &Roots, address: PciAddress) -> Option<Found> {
    let dir = roots.device(address);
    let word = |name: &str| hex(&dir.join(name)).and_then(|value| u16::try_from(value).ok());
    let id = PciId {
        vendor: word("vendor")?,
        device: word("device")?,
        subsystem_vendor: word("subsystem_vendor").unwrap_or(0),
        subsystem_device: word("subsystem_device").unwrap_or(0),
        revision: word("revision").map_or(0, |value| value as u8),
        class: hex(&dir.join("class"))?,
    };
    Some(Found {
        address,
        id,
        driver: link_name(&dir.join("driver")),
        iommu_group: iommu_group(&dir),
        numa_node: numa_node(&dir),
        interfaces: names(&dir.join("net")),
    })
}

/// The last part of the path that a symbolic link points to.
pub(super) fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// The number of the IOMMU group of the function whose directory this is.
pub(super) fn iommu_group(device: &Path) -> Option<u32> {
    link_name(&device.join("iommu_group"))?.parse().ok()
}

/// The memory node of the function whose directory this is; the kernel says -1 for "any".
pub(super) fn numa_node(device: &Path) -> Option<u32> {
    fs::read_to_string(device.join("numa_node"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The sorted names in a directory; none where there is no such directory.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn hex(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// A fake machine in a temporary directory.
#[cfg(test)]
pub(super) mod fake {
    use super::*;
    use std::os::unix::fs::symlink;

    pub struct Machine {
        _dir: tempfile::TempDir,
        pub roots: Roots,
    }

    impl Machine {
        pub fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            let roots = Roots {
                sys: at("sys"),
                dev: at("dev"),
                proc: at("proc"),
            };
            fs::create_dir_all(roots.sys.join("bus/pci/devices")).unwrap();
            fs::create_dir_all(&roots.dev).unwrap();
            Self { _dir: dir, roots }
        }

        /// Adds an 82576 with a driver and a group, or without.
        pub fn add(&self, address: &str, driver: Option<&str>, group: Option<u32>) {
            let device = self.roots.sys.join("bus/pci/devices").join(address);
            fs::create_dir_all(&device).unwrap();
            let files = [
                ("vendor", "0x8086"),
                ("device", "0x10c9"),
                ("class", "0x020000"),
                ("numa_node", "-1"),
            ];
            for (name, text) in files {
                fs::write(device.join(name), format!("{text}\n")).unwrap();
            }
            if let Some(driver) = driver {
                symlink(format!("../../../drivers/{driver}"), device.join("driver")).unwrap();
            }
            if let Some(group) = group {
                let members = self
                    .roots
                    .sys
                    .join(format!("kernel/iommu_groups/{group}/devices"));
                fs::create_dir_all(&members).unwrap();
                symlink(&device, members.join(address)).unwrap();
                symlink(
                    format!("../../../kernel/iommu_groups/{group}"),
                    device.join("iommu_group"),
                )
                .unwrap();
            }
        }

        pub fn write(&self, address: &str, name: &str, text: &str) {
            let device = self.roots.sys.join("bus/pci/devices").join(address);
            fs::write(device.join(name), text).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake::Machine;

    #[test]
    fn functions_are_listed_in_order_and_broken_ones_left_out() {
        let machine = Machine::new();
        machine.add("0000:02:00.0", Some("igb"), Some(7));
        machine.add("0000:01:00.0", None, None);
        machine.add("0000:03:00.0", Some("igb"), Some(8));
        machine.write("0000:03:00.0", "vendor", "nonsense\n");
        machine.write("0000:02:00.0", "numa_node", "1\n");
        fs::create_dir_all(machine.roots.sys.join("bus/pci/devices/0000:02:00.0/net/eth0")).unwrap();
        fs::create_dir_all(machine.roots.sys.join("bus/pci/devices/not-an-address")).unwrap();
        let found = scan(&machine.roots).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (
                found[0].driver.as_deref(),
                found[0].iommu_group,
                found[0].numa_node
            ),
            (None, None, None)
        );
        assert_eq!(found[1].address.to_string(), "0000:02:00.0");
        assert_eq!(
            (
                found[1].driver.as_deref(),
                found[1].iommu_group,
                found[1].numa_node
            ),
            (Some("igb"), Some(7), Some(1))
        );
        assert_eq!(
            (found[1].id.vendor, found[1].id.device, found[1].id.class),
            (0x8086, 0x10c9, 0x02_0000)
        );
        assert_eq!(found[1].interfaces, ["eth0"]);
    }

    #[test]
    fn a_machine_without_pci_is_an_error() {
        let nowhere = Roots {
            sys: "/nonexistent".into(),
            ..Roots::default()
        };
        assert!(scan(&nowhere).is_err());
    }
}
