use super::{Blocker, Holder, VfioError};
use crate::bus::scan::{Roots, iommu_group, link_name, names, numa_node};
use crate::pci::PciAddress;
use std::fs;
use std::path::Path;

/// What sysfs says about a device that VFIO can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub group: u32,
    pub numa: Option<u32>,
    /// Whether it is a virtual function.
    pub is_vf: bool,
}

/// Finds a device and checks that it is VFIO's: the causes that the kernel's errors do not tell apart.
pub(super) fn locate(roots: &Roots, address: PciAddress) -> Result<Place, VfioError> {
    let device = roots.device(address);
    if !device.exists() {
        return Err(VfioError::NoDevice { address });
    }
    let group = iommu_group(&device).ok_or(VfioError::NoIommu { address })?;
    match link_name(&device.join("driver")) {
        Some(driver) if is_vfio(&driver) => Ok(Place {
            group,
            numa: numa_node(&device),
            is_vf: device.join("physfn").exists(),
        }),
        driver => Err(VfioError::NotBound { address, driver }),
    }
}

/// vfio-pci, and its variants for single devices (mlx5_vfio_pci).
fn is_vfio(driver: &str) -> bool {
    driver.replace('_', "-").ends_with("vfio-pci")
}

/// The devices of a group that hold it: those bound to a driver that does its own DMA.
///
/// A port of a switch (pcieport) and pci-stub do none, and the kernel lets them be.
pub(super) fn blockers(roots: &Roots, group: u32) -> Vec<Blocker> {
    let members = roots.sys.join(format!("kernel/iommu_groups/{group}/devices"));
    let harmless = |driver: &str| is_vfio(driver) || ["pcieport", "pci-stub"].contains(&driver);
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

#[cfg(test)]
mod tests;
