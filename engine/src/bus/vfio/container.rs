use super::device::VfioFunction;
use super::group::Group;
use super::info::IommuInfo;
use super::options::{OpenOptions, PassedFds};
use super::uapi::{self, Query};
use super::{VfioError, sysfs};
use crate::bus::scan::{Roots, numa_node};
use crate::bus::space::Space;
use crate::mem::{DmaError, DmaLimits};
use crate::pci::PciAddress;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vfio_bindings::bindings::vfio::{VFIO_API_VERSION, VFIO_TYPE1v2_IOMMU};

/// One I/O address space, and the devices that live in it.
///
/// Groups stay attached until the container goes: when the last one leaves, the kernel drops all mappings.
#[derive(Debug)]
pub struct Container {
    state: Mutex<State>, // before `fd`: groups leave first
    fd: OwnedFd,
    roots: Roots,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Arc<Group>>,
    /// Known once the first group is attached: only then is there an IOMMU to ask.
    space: Option<Space>,
}

impl Container {
    /// Opens an empty address space.
    ///
    /// # Errors
    /// [`VfioError`]: VFIO is not loaded, has no type1 IOMMU, or may not be opened.
    pub fn new() -> Result<Arc<Self>, VfioError> {
        Self::with_roots(Roots::default())
    }

    /// Like [`Container::new`], with the kernel's file systems mounted elsewhere.
    ///
    /// # Errors
    /// As [`Container::new`].
    pub fn with_roots(roots: Roots) -> Result<Arc<Self>, VfioError> {
        let path = roots.dev.join("vfio/vfio");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| not_opened(&path, e))?;
        Ok(Arc::new(Self::checked(file.into(), roots)?))
    }

    fn checked(fd: OwnedFd, roots: Roots) -> Result<Self, VfioError> {
        let version = uapi::api_version(fd.as_fd()).map_err(VfioError::os("ask for VFIO's API version"))?;
        if version != VFIO_API_VERSION as i32 {
            return Err(VfioError::ApiVersion(version));
        }
        let type1 = uapi::check_extension(fd.as_fd(), VFIO_TYPE1v2_IOMMU);
        if !type1.map_err(VfioError::os("ask for a type1 IOMMU"))? {
            return Err(VfioError::NoType1);
        }
        Ok(Self {
            state: Mutex::default(),
            fd,
            roots,
        })
    }

    /// Opens a device: checks what sysfs says about it, attaches its group, and takes it out of the kernel's
    /// hands. The kernel resets it and switches its bus mastering off.
    ///
    /// # Errors
    /// [`VfioError`], with the cause and the command that mends it.
    pub fn open(
        self: &Arc<Self>,
        address: PciAddress,
        options: &OpenOptions,
    ) -> Result<VfioFunction, VfioError> {
        let name = options.device_name(address)?;
        let place = sysfs::locate(&self.roots, address)?;
        let group = self.group(place.group, address)?;
        let device = group.device(&name, address, place.is_vf, options.vf_token.is_some())?;
        VfioFunction::new(self.clone(), group, device, address, place.numa)
    }

    /// Takes over a device that a launcher has opened, with the container and group it has attached.
    ///
    /// `address` is what the device reports about itself; nothing depends on its being right but messages.
    /// Mappings that the launcher has made stay unknown: leave them all to this process. The descriptors must be
    /// VFIO's: what another driver takes VFIO's requests for cannot be told from here.
    ///
    /// # Errors
    /// [`VfioError`]: not such descriptors, or not attached.
    pub fn from_device_fd(address: PciAddress, fds: PassedFds) -> Result<VfioFunction, VfioError> {
        Self::passed(fds.container)?.add_device_fd(address, fds.group, fds.device)
    }

    /// A container that a launcher has opened.
    pub(super) fn passed(fd: OwnedFd) -> Result<Arc<Self>, VfioError> {
        let container = Self::checked(fd, Roots::default());
        Ok(Arc::new(container.map_err(|error| error.of_passed("container"))?))
    }

    /// Takes over one more device of the same container; as [`Container::from_device_fd`].
    ///
    /// # Errors
    /// As [`Container::from_device_fd`].
    pub fn add_device_fd(
        self: &Arc<Self>,
        address: PciAddress,
        group: OwnedFd,
        device: OwnedFd,
    ) -> Result<VfioFunction, VfioError> {
        let group = Arc::new(Group::passed(group).map_err(|error| error.of_passed("group"))?);
        let mut state = self.state();
        self.refresh(&mut state)?;
        state.groups.push(group.clone());
        drop(state);
        let numa = numa_node(&self.roots.device(address));
        let function = VfioFunction::new(self.clone(), group, device, address, numa);
        function.map_err(|error| error.of_passed("device"))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The group, attached; opened at the first of its devices.
    fn group(&self, number: u32, address: PciAddress) -> Result<Arc<Group>, VfioError> {
        let mut state = self.state();
        state.groups.retain(|group| group.is_alive());
        let known = state
            .groups
            .iter()
            .find(|group| group.number() == Some(number))
            .cloned();
        let group = match &known {
            Some(group) => group.clone(),
            None => self.join(&mut state, number, address)?,
        };
        // Again for a known group if that failed the first time.
        if known.is_none() || state.space.is_none() {
            self.refresh(&mut state)?;
        }
        Ok(group)
    }

    /// Opens and attaches a group. From then on it belongs to the container: others may already rely on it.
    fn join(&self, state: &mut State, number: u32, address: PciAddress) -> Result<Arc<Group>, VfioError> {
        let group = Arc::new(Group::open(&self.roots, number, address)?);
        group.attach(self.fd.as_fd(), state.groups.is_empty())?;
        state.groups.push(group.clone());
        Ok(group)
    }

    /// Reads the windows again: each group that joins can narrow them.
    fn refresh(&self, state: &mut State) -> Result<(), VfioError> {
        let info = self.iommu_info()?;
        let windows = info.windows.ok_or(VfioError::NoIovaRanges)?;
        match &mut state.space {
            Some(space) => space.update(windows, info.page_sizes),
            None => state.space = Some(Space::new(windows, info.page_sizes)),
        }
        Ok(())
    }

    fn iommu_info(&self) -> Result<IommuInfo, VfioError> {
        let answer = uapi::query(self.fd.as_fd(), Query::Iommu);
        IommuInfo::parse(&answer.map_err(VfioError::os("ask what the IOMMU can map"))?)
    }

    /// Runs `act` with the address space, which nobody else changes meanwhile.
    pub(super) fn with_space<R>(
        &self,
        len: usize,
        act: impl FnOnce(BorrowedFd<'_>, &mut Space) -> Result<R, DmaError>,
    ) -> Result<R, DmaError> {
        let mut state = self.state();
        let none = || {
            io::Error::new(
                ErrorKind::NotConnected,
                "no device is open yet: Container::open comes first",
            )
        };
        let space = state
            .space
            .as_mut()
            .ok_or_else(|| DmaError::Os { len, source: none() })?;
        act(self.fd.as_fd(), space)
    }

    /// Whether nothing is mapped by this process.
    pub(super) fn is_unmapped(&self) -> bool {
        self.state().space.as_ref().is_none_or(Space::is_empty)
    }

    /// What the kernel says now; no windows before the first device is open.
    pub(super) fn kernel_limits(&self) -> DmaLimits {
        let none = IommuInfo {
            page_sizes: 0,
            windows: None,
            entries_left: None,
        };
        let info = match self.state().space {
            Some(_) => self.iommu_info().unwrap_or_else(|error| {
                tracing::warn!(%error, "the limits of the IOMMU container are unknown");
                none
            }),
            None => none,
        };
        DmaLimits {
            windows: info.windows.unwrap_or_default(),
            page_sizes: info.page_sizes,
            entries_left: info.entries_left,
            counts_memlock: true,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it means that the container's node cannot be opened.
fn not_opened(path: &Path, source: io::Error) -> VfioError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => VfioError::NoVfio { path },
        ErrorKind::PermissionDenied => VfioError::NoPermission { path },
        // The node is static: it can stand without its driver.
        _ if source.raw_os_error() == Some(nix::libc::ENODEV) => VfioError::NoVfio { path },
        _ => VfioError::Os {
            step: "open /dev/vfio/vfio",
            source,
        },
    }
}

#[cfg(test)]
mod tests;
