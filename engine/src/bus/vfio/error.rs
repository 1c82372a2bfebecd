use crate::bus::bind::{Blocker, Holder, bind, blocked, held, in_use};
use crate::pci::PciAddress;
use std::io;
use std::path::PathBuf;

const DRIVER: &str = "vfio-pci";
const AGAIN: &str = "open all devices of a group through one container: Container::open";

/// Why VFIO could not be used: one cause, and one command that mends it or tells more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VfioError {
    /// The address names nothing.
    #[error("there is no PCI device {address}; list the devices: lspci -D")]
    NoDevice {
        /// Device.
        address: PciAddress,
    },
    /// A kernel driver holds the device, or none does.
    #[error("{address} is {}, not bound to vfio-pci; bind it: {}", held(.driver.as_deref()), bind(&.address.to_string(), DRIVER, .driver.is_some()))]
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
    /// VFIO is not in the kernel.
    #[error("{} does not exist: VFIO is not loaded; load it: sudo modprobe vfio-pci", .path.display())]
    NoVfio {
        /// The node.
        path: PathBuf,
    },
    /// The group has no node.
    #[error("{} does not exist though {address} is bound to vfio-pci; if this is a container, start it with: --device {}", .path.display(), .path.display())]
    NoGroupNode {
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
    /// A group can be opened once.
    #[error("{} is in use{}", .path.display(), in_use(.path, .holder.as_ref(), AGAIN))]
    GroupBusy {
        /// The node.
        path: PathBuf,
        /// Who has it, if that can be seen.
        holder: Option<Holder>,
    },
    /// Kernel drivers hold other devices of the group.
    #[error("IOMMU group {group} cannot be used{}", blocked(.blockers, DRIVER))]
    NotViable {
        /// Group.
        group: u32,
        /// Devices that must change to vfio-pci, or lose their driver.
        blockers: Vec<Blocker>,
    },
    /// The group could not be put behind the container's page tables.
    #[error(
        "the kernel refused to attach {group} to the IOMMU ({source}): firmware that claims the device's memory (RMRR, 1:1 mapping) or missing interrupt remapping; the reason is in: sudo dmesg | grep -iE 'rmrr|1:1|interrupt remapping'"
    )]
    AttachRefused {
        /// Group.
        group: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel speaks another version.
    #[error("this kernel's VFIO has API version {0}, the engine knows version 0; see: uname -r")]
    ApiVersion(i32),
    /// No IOMMU driver of the kind that the engine uses.
    #[error("this kernel offers no type1 (version 2) IOMMU; load it: sudo modprobe vfio_iommu_type1")]
    NoType1,
    /// The kernel does not tell which IOVAs are usable.
    #[error("the kernel does not tell which IOVAs are usable; kernel 5.4 or later does: uname -r")]
    NoIovaRanges,
    /// Not a UUID.
    #[error("{0:?} is not a VF token; write it as a UUID, as this prints one: uuidgen")]
    BadToken(String),
    /// The token is missing or wrong.
    #[error("{address} is {}, and the VF token {}; {}: OpenOptions::vf_token", token_of(*.is_vf), if *.given { "does not match" } else { "was not given" }, if *.is_vf { "use the token that the PF's owner has set" } else { "use the token that is set, or end the users of the VFs" })]
    TokenRefused {
        /// Device.
        address: PciAddress,
        /// Whether it is a VF.
        is_vf: bool,
        /// Whether there was a token.
        given: bool,
    },
    /// A token where none is used.
    #[error("a VF token was given for {address}, which uses none; leave it out: OpenOptions::default()")]
    TokenUnused {
        /// Device.
        address: PciAddress,
    },
    /// A token for the VFs of a device that has none.
    #[error(
        "{address} cannot have VFs, so that it takes no VF token; its capabilities are listed by: sudo lspci -v -s {address}"
    )]
    NoVfs {
        /// Device.
        address: PciAddress,
    },
    /// Fewer interrupt vectors than the device has.
    #[error(
        "{address}: the machine has {available} interrupt vectors for this device, vector {vector} was asked for; use fewer queues"
    )]
    FewerVectors {
        /// Device.
        address: PciAddress,
        /// Vector asked for.
        vector: u16,
        /// Vectors to be had.
        available: u32,
    },
    /// There is no way to reset the device.
    #[error(
        "{address} cannot be reset by itself; the kernel's ways to reset it, if any: cat /sys/bus/pci/devices/{address}/reset_method"
    )]
    NotResettable {
        /// Device.
        address: PciAddress,
    },
    /// An answer that contradicts the kernel's own interface.
    #[error("the kernel's answer makes no sense: {0}; see: uname -r")]
    BadAnswer(&'static str),
    /// A device could not be passed to another process.
    #[error("devices could not be handed over: {0}")]
    Handover(&'static str),
    /// A descriptor of something else was passed in.
    #[error("what was passed as the {0} is no VFIO descriptor; pass devices with: Container::pass")]
    NotVfio(&'static str),
    /// What the kernel said.
    #[error("{step}: {source}")]
    Os {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

impl VfioError {
    /// For `map_err`: the kernel's word to `step`.
    pub(super) fn os(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Os { step, source }
    }

    /// The same error, of a descriptor that was passed in as `what`: the kernel's "no such request" tells that it is
    /// something else (`ENOTTY`), or nothing that takes requests (`EBADF`: opened with `O_PATH`).
    pub(super) fn of_passed(self, what: &'static str) -> Self {
        match &self {
            Self::Os { source, .. } => match source.raw_os_error() {
                Some(nix::libc::ENOTTY | nix::libc::EBADF) => Self::NotVfio(what),
                _ => self,
            },
            _ => self,
        }
    }
}

fn token_of(is_vf: bool) -> &'static str {
    if is_vf {
        "a VF whose PF is bound to vfio-pci"
    } else {
        "a PF whose VFs are in use"
    }
}
