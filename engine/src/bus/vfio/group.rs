use super::uapi;
use super::{VfioError, sysfs};
use crate::bus::bind::holder;
use crate::bus::scan::Roots;
use crate::pci::PciAddress;
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use vfio_bindings::bindings::vfio::{
    VFIO_GROUP_FLAGS_CONTAINER_SET, VFIO_GROUP_FLAGS_VIABLE, VFIO_TYPE1v2_IOMMU,
};

/// An open IOMMU group: devices that cannot be told apart by the IOMMU. A group can be opened once.
#[derive(Debug)]
pub(super) struct Group {
    number: Option<u32>,
    fd: OwnedFd,
}

impl Group {
    /// Opens the group of `address` and checks that no kernel driver holds a part of it.
    pub fn open(roots: &Roots, number: u32, address: PciAddress) -> Result<Self, VfioError> {
        let path = roots.dev.join(format!("vfio/{number}"));
        let file = File::options().read(true).write(true).open(&path);
        let fd = OwnedFd::from(file.map_err(|source| not_opened(roots, path, address, source))?);
        if status(fd.as_fd())? & VFIO_GROUP_FLAGS_VIABLE == 0 {
            return Err(VfioError::NotViable {
                group: number,
                blockers: sysfs::blockers(roots, number),
            });
        }
        Ok(Self {
            number: Some(number),
            fd,
        })
    }

    /// A group that a launcher has opened and attached.
    pub fn passed(fd: OwnedFd) -> Result<Self, VfioError> {
        if status(fd.as_fd())? & VFIO_GROUP_FLAGS_CONTAINER_SET == 0 {
            let source = io::Error::from(io::ErrorKind::NotConnected);
            return Err(VfioError::AttachRefused {
                group: "the group that was passed in".into(),
                source,
            });
        }
        Ok(Self { number: None, fd })
    }

    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Whether the kernel still has the group behind this descriptor. When its last device was removed or unbound it
    /// has not, and a device that comes back is in a new group of the same number.
    pub fn is_alive(&self) -> bool {
        status(self.fd.as_fd()).is_ok()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Puts the group behind the container's page tables. The container's IOMMU can only be set once it has its
    /// first group; later groups are attached by joining.
    pub fn attach(&self, container: BorrowedFd<'_>, first: bool) -> Result<(), VfioError> {
        let joined = uapi::group_set_container(self.fd.as_fd(), container);
        let attached = joined.and_then(|()| match first {
            true => uapi::set_iommu(container, VFIO_TYPE1v2_IOMMU),
            false => Ok(()),
        });
        let group = self
            .number
            .map_or("the group".to_owned(), |number| format!("group {number}"));
        attached.map_err(|source| VfioError::AttachRefused { group, source })
    }

    /// The descriptor of a device; the kernel resets it if nobody else has it.
    pub fn device(
        &self,
        name: &CStr,
        address: PciAddress,
        is_vf: bool,
        token: bool,
    ) -> Result<OwnedFd, VfioError> {
        let fd = uapi::group_device(self.fd.as_fd(), name);
        fd.map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES) => VfioError::TokenRefused {
                address,
                is_vf,
                given: token,
            },
            Some(Errno::EINVAL) if token => VfioError::TokenUnused { address },
            _ => VfioError::Os {
                step: "open the device (VFIO_GROUP_GET_DEVICE_FD)",
                source,
            },
        })
    }
}

fn status(group: BorrowedFd<'_>) -> Result<u32, VfioError> {
    uapi::group_status(group).map_err(VfioError::os("ask for the IOMMU group's status"))
}

/// What it means that a group's node cannot be opened.
fn not_opened(roots: &Roots, path: PathBuf, address: PciAddress, source: io::Error) -> VfioError {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => VfioError::NoGroupNode { path, address },
        Some(Errno::EACCES | Errno::EPERM) => VfioError::NoPermission { path },
        Some(Errno::EBUSY) => {
            let holder = holder(roots, &path);
            VfioError::GroupBusy { path, holder }
        }
        _ => VfioError::Os {
            step: "open the IOMMU group's node",
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errno: Errno) -> String {
        let (path, nobody) = (
            "/dev/vfio/9".into(),
            Roots {
                proc: "/nonexistent".into(),
                ..Roots::default()
            },
        );
        not_opened(&nobody, path, "01:00.0".parse().unwrap(), errno.into()).to_string()
    }

    #[test]
    fn errors_of_open_name_the_remedy() {
        assert!(told(Errno::ENOENT).ends_with("--device /dev/vfio/9"));
        assert!(told(Errno::EACCES).ends_with("sudo chown $USER /dev/vfio/9"));
        assert!(told(Errno::EBUSY).ends_with("sudo fuser -v /dev/vfio/9"));
    }
}
