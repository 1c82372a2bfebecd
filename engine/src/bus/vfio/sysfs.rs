use super::VfioError;
use crate::bus::bind::{self, Blocker, NotReady, Place};
use crate::bus::scan::Roots;
use crate::pci::PciAddress;

/// Finds a device and checks that it is VFIO's.
pub(super) fn locate(roots: &Roots, address: PciAddress) -> Result<Place, VfioError> {
    bind::locate(roots, address, is_vfio).map_err(|why| match why {
        NotReady::NoDevice => VfioError::NoDevice { address },
        NotReady::NoIommu => VfioError::NoIommu { address },
        NotReady::NotBound(driver) => VfioError::NotBound { address, driver },
    })
}

/// vfio-pci, and its variants for single devices (mlx5_vfio_pci).
fn is_vfio(driver: &str) -> bool {
    driver.replace('_', "-").ends_with("vfio-pci")
}

/// The devices of a group that hold it.
pub(super) fn blockers(roots: &Roots, group: u32) -> Vec<Blocker> {
    bind::blockers(roots, group, is_vfio)
}

#[cfg(test)]
mod tests;
