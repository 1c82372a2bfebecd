use super::DRIVER;
use crate::bus::bind::{Blocker, Holder, bind, blocked, held, in_use};
use crate::pci::PciAddress;
use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// Why barline.ko could not be used: one cause, and one command that mends it or tells more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmodError {
    /// The address names nothing.
    #[error("there is no PCI device {address}; list the devices: lspci -D")]
    NoDevice {
        /// Device.
        address: PciAddress,
    },
    /// Another kernel driver holds the device, or none does.
    #[error("{address} is {}, not bound to barline; bind it (what speaks against it, dmesg tells): {}", held(.driver.as_deref()), bind(&.address.to_string(), DRIVER, .driver.is_some()))]
    NotBound {
        /// Device.
        address: PciAddress,
        /// The driver that holds it.
        driver: Option<String>,
    },
    /// The device is in no IOMMU group.
    #[error(
        "{address} has no IOMMU group: the IOMMU is off; enable VT-d or AMD-Vi in the firmware and, on Intel, boot with intel_iommu=on: sudo dmesg | grep -e DMAR -e AMD-Vi"
    )]
    NoIommu {
        /// Device.
        address: PciAddress,
    },
    /// The module is not in the kernel.
    #[error("{} does not exist: barline.ko is not loaded; load it: sudo modprobe barline", .path.display())]
    NoModule {
        /// The node.
        path: PathBuf,
    },
    /// The device has no node.
    #[error("{} does not exist though {address} is bound to barline; if this is a container, start it with: --device {}", .path.display(), .path.display())]
    NoNode {
        /// The node.
        path: PathBuf,
        /// Device.
        address: PciAddress,
    },
    /// A node belongs to somebody else.
    #[error("no permission to open {}; take it: sudo chown $USER {}", .path.display(), .path.display())]
    NoPermission {
        /// The node.
        path: PathBuf,
    },
    /// A device can be opened once.
    #[error("{} is in use{}", .path.display(), in_use(.path, .holder.as_ref(), "name each port once"))]
    Busy {
        /// The node.
        path: PathBuf,
        /// Who has it, if that can be seen.
        holder: Option<Holder>,
    },
    /// Kernel drivers hold other devices of the group, or another process has them in its address space.
    #[error("IOMMU group {group} cannot be used{}", blocked(.blockers, DRIVER))]
    GroupBusy {
        /// Group.
        group: u32,
        /// Devices that must change to barline, or lose their driver.
        blockers: Vec<Blocker>,
    },
    /// The device's IOMMU cannot share the page tables of those before it.
    #[error(
        "the kernel refused to put {address} into the address space of the other ports ({source}); run it in a process of its own: l2fwd --ports {address}"
    )]
    AttachRefused {
        /// Device.
        address: PciAddress,
        /// The kernel's word.
        source: io::Error,
    },
    /// The module is older than the engine.
    #[error(
        "barline.ko has ABI version {found}, the engine needs {wanted} or later; build and load the module of this version: make -C kmod install"
    )]
    Abi {
        /// The module's.
        found: u32,
        /// The engine's.
        wanted: u32,
    },
    /// Fewer interrupt vectors than the device has.
    #[error(
        "{address}: the machine has too few interrupt vectors for vector {vector} of this device; use fewer queues"
    )]
    FewerVectors {
        /// Device.
        address: PciAddress,
        /// Vector asked for.
        vector: u16,
    },
    /// A launcher's descriptor is something else.
    #[error(
        "the descriptor that was passed as the {what} is not one of barline.ko ({source}); the launcher must open it in /dev/barline"
    )]
    NotPassed {
        /// What it should be.
        what: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// An answer that contradicts the module's own interface.
    #[error("the answer of barline.ko makes no sense: {0}; see: modinfo barline")]
    BadAnswer(&'static str),
    /// What the kernel said.
    #[error("{step}: {source}")]
    Os {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

impl KmodError {
    /// The first question to a descriptor that was passed: other files do not know it.
    pub(super) fn of_passed(self, what: &'static str) -> Self {
        match self {
            Self::Os { source, .. } if source.raw_os_error() == Some(Errno::ENOTTY as i32) => {
                Self::NotPassed { what, source }
            }
            other => other,
        }
    }

    /// For `map_err`: the kernel's word to `step`.
    pub(super) fn os(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Os { step, source }
    }
}
