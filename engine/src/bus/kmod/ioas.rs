use super::device::KmodFunction;
use super::uapi::{self, Reach};
use super::{DRIVER, KmodError};
use crate::bus::bind::{self, NotReady, Place};
use crate::bus::scan::Roots;
use crate::bus::space::Space;
use crate::mem::{DmaError, DmaLimits, Window};
use crate::pci::PciAddress;
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One I/O address space of barline.ko, and the devices that live in it.
///
/// It stays until the last of its devices is closed, with its mappings.
#[derive(Debug)]
pub struct Ioas {
    /// Known once the first device is attached: only then is there an IOMMU to ask.
    space: Mutex<Option<Space>>,
    fd: OwnedFd,
    roots: Roots,
}

impl Ioas {
    /// Opens an empty address space.
    ///
    /// # Errors
    /// [`KmodError`]: the module is not loaded, too old, or may not be used.
    pub fn new() -> Result<Arc<Self>, KmodError> {
        Self::with_roots(Roots::default())
    }

    /// Like [`Ioas::new`], with the kernel's file systems mounted elsewhere.
    ///
    /// # Errors
    /// As [`Ioas::new`].
    pub fn with_roots(roots: Roots) -> Result<Arc<Self>, KmodError> {
        let path = roots.dev.join("barline/iommu");
        let fd = OwnedFd::from(open(&path).map_err(|source| not_opened(&roots, path, None, source))?);
        Self::checked(fd, roots)
    }

    /// Takes over an address space that a launcher has opened and passed on (`/dev/barline/iommu`); nothing may be mapped
    /// in it. What this process maps counts against its own limit of locked memory.
    ///
    /// # Errors
    /// [`KmodError`]: not such a descriptor, or a module that is too old.
    pub fn from_fd(fd: OwnedFd) -> Result<Arc<Self>, KmodError> {
        Self::checked(fd, Roots::default()).map_err(|error| error.of_passed("address space"))
    }

    fn checked(fd: OwnedFd, roots: Roots) -> Result<Arc<Self>, KmodError> {
        let reach = uapi::ioas_info(fd.as_fd()).map_err(KmodError::os("ask for the module's version"))?;
        if reach.abi < uapi::ABI {
            return Err(KmodError::Abi {
                found: reach.abi,
                wanted: uapi::ABI,
            });
        }
        Ok(Arc::new(Self {
            space: Mutex::default(),
            fd,
            roots,
        }))
    }

    /// Opens a device and attaches it: checks what sysfs says about it, and takes it out of the kernel's hands. It is
    /// reset, and its bus mastering is off.
    ///
    /// # Errors
    /// [`KmodError`], with the cause and the command that mends it.
    pub fn open(self: &Arc<Self>, address: PciAddress) -> Result<KmodFunction, KmodError> {
        let place = locate(&self.roots, address)?;
        let path = self.roots.dev.join(DRIVER).join(address.to_string());
        let device = open(&path).map_err(|source| not_opened(&self.roots, path, Some(address), source))?;
        self.attach(device.as_fd(), address, place.group)?;
        KmodFunction::new(self.clone(), device, address, place.numa)
    }

    /// Takes over a device that a launcher has opened (`/dev/barline/BDF`) and done nothing else with, for a process without
    /// the right to open it, and attaches it. What the device is, it says itself.
    ///
    /// # Errors
    /// [`KmodError`]: not such a descriptor, or as for [`Ioas::open`].
    pub fn add_device_fd(self: &Arc<Self>, device: OwnedFd) -> Result<KmodFunction, KmodError> {
        let info = uapi::dev_info(device.as_fd()).map_err(KmodError::os("ask what a device is"));
        let info = info.map_err(|error| error.of_passed("device"))?;
        let address = info.address()?;
        let group = u32::try_from(info.group).unwrap_or(u32::MAX);
        self.attach(device.as_fd(), address, group)?;
        let numa = u32::try_from(info.numa_node).ok();
        KmodFunction::new(self.clone(), File::from(device), address, numa)
    }

    /// Attaches, and reads the windows again: each device can narrow them.
    fn attach(&self, device: BorrowedFd<'_>, address: PciAddress, group: u32) -> Result<(), KmodError> {
        let mut space = self.space();
        uapi::attach(device, self.fd.as_fd()).map_err(|source| {
            match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EBUSY) => KmodError::GroupBusy {
                    group,
                    blockers: bind::blockers(&self.roots, group, is_ours),
                },
                Some(Errno::EINVAL) => KmodError::AttachRefused { address, source },
                _ => KmodError::os("attach the device to the address space")(source),
            }
        })?;
        let reach = self.reach()?;
        let windows = windows(reach.aperture, &reach.reserved);
        match &mut *space {
            Some(space) => space.update(windows, reach.page_sizes),
            None => *space = Some(Space::new(windows, reach.page_sizes)),
        }
        Ok(())
    }

    fn reach(&self) -> Result<Reach, KmodError> {
        uapi::ioas_info(self.fd.as_fd()).map_err(KmodError::os("ask what the IOMMU can map"))
    }

    /// Runs `act` with the address space, which nobody else changes meanwhile.
    pub(super) fn with_space<R>(
        &self,
        len: usize,
        act: impl FnOnce(BorrowedFd<'_>, &mut Space) -> Result<R, DmaError>,
    ) -> Result<R, DmaError> {
        let mut space = self.space();
        let space = space.as_mut().ok_or_else(|| DmaError::Os {
            len,
            source: io::Error::new(
                ErrorKind::NotConnected,
                "no device is open yet: Ioas::open comes first",
            ),
        })?;
        act(self.fd.as_fd(), space)
    }

    /// What the kernel says now; no windows before the first device is open.
    pub(super) fn kernel_limits(&self) -> DmaLimits {
        let (space, mut limits) = (
            self.space(),
            DmaLimits {
                windows: Vec::new(),
                page_sizes: 0,
                entries_left: None,
                counts_memlock: true,
            },
        );
        let Some(space) = space.as_ref() else {
            return limits;
        };
        match self.reach() {
            Ok(reach) => {
                limits.windows = windows(reach.aperture, &reach.reserved);
                limits.page_sizes = reach.page_sizes;
                let left = reach.max_maps.saturating_sub(space.mappings() as u64);
                limits.entries_left = Some(u32::try_from(left).unwrap_or(u32::MAX));
            }
            Err(error) => tracing::warn!(%error, "the limits of the address space are unknown"),
        }
        limits
    }

    fn space(&self) -> MutexGuard<'_, Option<Space>> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn is_ours(driver: &str) -> bool {
    driver == DRIVER
}

fn locate(roots: &Roots, address: PciAddress) -> Result<Place, KmodError> {
    bind::locate(roots, address, is_ours).map_err(|why| match why {
        NotReady::NoDevice => KmodError::NoDevice { address },
        NotReady::NoIommu => KmodError::NoIommu { address },
        NotReady::NotBound(driver) => KmodError::NotBound { address, driver },
    })
}

/// What it means that a node cannot be opened: a device's, or that of address spaces.
fn not_opened(roots: &Roots, path: PathBuf, device: Option<PciAddress>, source: io::Error) -> KmodError {
    match (source.raw_os_error().map(Errno::from_raw), device) {
        (Some(Errno::ENOENT), None) => KmodError::NoModule { path },
        (Some(Errno::ENOENT), Some(address)) => KmodError::NoNode { path, address },
        (Some(Errno::EACCES | Errno::EPERM), _) => KmodError::NoPermission { path },
        (Some(Errno::EBUSY), Some(_)) => {
            let holder = bind::holder(roots, &path);
            KmodError::Busy { path, holder }
        }
        _ => KmodError::os("open a node of barline.ko")(source),
    }
}

/// The aperture without the reserved ranges, which come in any order and may overlap.
fn windows(aperture: Window, reserved: &[Window]) -> Vec<Window> {
    let mut holes = reserved.to_vec();
    holes.sort_by_key(|hole| hole.first);
    let (mut windows, mut first) = (Vec::new(), Some(aperture.first));
    for hole in holes {
        let Some(start) = first.filter(|start| hole.last >= *start) else {
            continue;
        };
        if hole.first > start {
            windows.push(Window {
                first: start,
                last: (hole.first - 1).min(aperture.last),
            });
        }
        first = hole.last.checked_add(1);
    }
    windows.extend(first.map(|first| Window {
        first,
        last: aperture.last,
    }));
    windows.retain(|window| window.first <= window.last);
    windows
}

#[cfg(test)]
mod tests;
