//! What sysfs and procfs say about who has a device: the causes that the kernel's errors do not tell apart.

use super::scan::{Roots, iommu_group, link_name, names, numa_node};
use crate::pci::PciAddress;
use std::fs;
use std::path::Path;

/// A device that keeps its whole group from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its name in sysfs: a PCI address.
    pub device: String,
    /// The driver that holds it.
    pub driver: String,
}

/// A process that has a group or a device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
}

/// What sysfs says about a device that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub group: u32,
    pub numa: Option<u32>,
    /// Whether it is a virtual function.
    pub is_vf: bool,
}

/// Why a device cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotReady {
    NoDevice,
    NoIommu,
    /// Another driver, or none, has it.
    NotBound(Option<String>),
}

/// Finds a device and checks that a driver has it which gives it to processes.
pub(super) fn locate(
    roots: &Roots,
    address: PciAddress,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Place, NotReady> {
    let device = roots.device(address);
    if !device.exists() {
        return Err(NotReady::NoDevice);
    }
    let group = iommu_group(&device).ok_or(NotReady::NoIommu)?;
    match link_name(&device.join("driver")) {
        Some(driver) if is_ours(&driver) => Ok(Place {
            group,
            numa: numa_node(&device),
            is_vf: device.join("physfn").exists(),
        }),
        driver => Err(NotReady::NotBound(driver)),
    }
}

/// The devices of a group that hold it: those bound to a driver that does its own DMA.
///
/// A port of a switch (pcieport) and pci-stub do none, and the kernel lets them be.
pub(super) fn blockers(roots: &Roots, group: u32, is_ours: impl Fn(&str) -> bool) -> Vec<Blocker> {
    let members = roots.sys.join(format!("kernel/iommu_groups/{group}/devices"));
    let harmless = |driver: &str| is_ours(driver) || ["pcieport", "pci-stub"].contains(&driver);
    let blocker = |device: String| {
        let driver = link_name(&members.join(&device).join("driver"))?;
        (!harmless(&driver)).then_some(Blocker { device, driver })
    };
    names(&members).into_iter().filter_map(blocker).collect()
}

/// The process that has `node` open, if this one may see it.
pub(super) fn holder(roots: &Roots, node: &Path) -> Option<Holder> {
    let pids = names(&roots.proc)
        .into_iter()
        .filter_map(|name| name.parse::<u32>().ok());
    pids.into_iter().find_map(|pid| {
        let dir = roots.proc.join(pid.to_string());
        let open = |fd: &String| fs::read_link(dir.join("fd").join(fd)).is_ok_and(|file| file == node);
        names(&dir.join("fd")).iter().find(|fd| open(fd))?;
        let command = fs::read_to_string(dir.join("comm"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        Some(Holder { pid, command })
    })
}

/// Who has a device, for a message.
pub(super) fn held(driver: Option<&str>) -> String {
    driver.map_or("without a driver".to_owned(), |driver| {
        format!("held by the driver {driver}")
    })
}

/// The commands that move a device to `driver`.
pub(super) fn bind(device: &str, driver: &str, has_driver: bool) -> String {
    let dir = format!("/sys/bus/pci/devices/{device}");
    let unbind = format!("echo {device} | sudo tee {dir}/driver/unbind; ");
    format!(
        "echo {driver} | sudo tee {dir}/driver_override; {}echo {device} | sudo tee /sys/bus/pci/drivers_probe",
        if has_driver { unbind } else { String::new() }
    )
}

/// Who has `path` open, and what to do about it; `again`: if it is this process.
pub(super) fn in_use(path: &Path, holder: Option<&Holder>, again: &str) -> String {
    match holder {
        Some(Holder { pid, .. }) if *pid == std::process::id() => format!(" by this process; {again}"),
        Some(Holder { pid, command }) => format!(" by process {pid} ({command}); end it: kill {pid}"),
        None => format!("; find out by whom: sudo fuser -v {}", path.display()),
    }
}

/// The devices that block a group, and how the first of them is moved to `driver`.
pub(super) fn blocked(blockers: &[Blocker], driver: &str) -> String {
    let list: Vec<String> = blockers
        .iter()
        .map(|b| format!("{} ({})", b.device, b.driver))
        .collect();
    match blockers {
        [] => {
            ": a kernel driver uses one of its devices; list them: ls -l /sys/kernel/iommu_groups/*/devices"
                .into()
        }
        [first, ..] => format!(
            " while kernel drivers hold {} of it; move each to {driver}: {}",
            list.join(", "),
            bind(&first.device, driver, true)
        ),
    }
}
