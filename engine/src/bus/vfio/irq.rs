use super::VfioError;
use super::info::IrqInfo;
use super::uapi::{self, Query};
use crate::bus::trigger::Trigger;
use crate::pci::PciAddress;
use crate::wait::EventFd;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vfio_bindings::bindings::vfio::{VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_MSIX_IRQ_INDEX};

/// The MSI-X vectors of a device: which are on, and how many the kernel has set up.
#[derive(Debug)]
pub(super) struct Msix {
    address: PciAddress,
    vectors: u16,
    /// Vectors can be added while others are on.
    dynamic: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Vectors that can be directed; 0 while MSI-X is off.
    ready: u32,
    on: BTreeSet<u16>,
}

const MSIX: u32 = VFIO_PCI_MSIX_IRQ_INDEX;

impl Msix {
    /// Asks what the device has; none where the kernel knows no MSI-X for it.
    pub fn new(device: BorrowedFd<'_>, address: PciAddress) -> Result<Self, VfioError> {
        let info = info(device, MSIX)?;
        let vectors = u16::try_from(info.map_or(0, |info| info.count)).unwrap_or(u16::MAX);
        let dynamic = info.is_some_and(|info| info.flags & VFIO_IRQ_INFO_NORESIZE == 0);
        Ok(Self {
            address,
            vectors,
            dynamic,
            state: Mutex::default(),
        })
    }

    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Directs a vector to an eventfd, or switches it off. The caller has checked the vector.
    pub fn set(
        &self,
        device: BorrowedFd<'_>,
        vector: u16,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), VfioError> {
        let mut state = self.state();
        match fd {
            Some(fd) => self.direct(device, &mut state, vector, fd),
            None if !state.on.contains(&vector) => Ok(()),
            None if state.on.len() == 1 => switch_off(device, &mut state),
            None => {
                set(device, vector, None)?;
                state.on.remove(&vector);
                Ok(())
            }
        }
    }

    fn direct(
        &self,
        device: BorrowedFd<'_>,
        state: &mut State,
        vector: u16,
        fd: BorrowedFd<'_>,
    ) -> Result<(), VfioError> {
        if state.ready == 0 {
            state.ready = self.enable(device)?;
        }
        let done = if u32::from(vector) < state.ready {
            set(device, vector, Some(fd))
        } else {
            Err(VfioError::FewerVectors {
                address: self.address,
                vector,
                available: state.ready,
            })
        };
        match &done {
            Ok(()) => {
                state.on.insert(vector);
            }
            // Nothing is on: give the vectors back.
            Err(_) if state.on.is_empty() => switch_off(device, state)?,
            Err(_) => {}
        }
        done
    }

    /// Switches MSI-X on with all vectors silent, so that each can be directed later without disturbing another.
    ///
    /// Where vectors can be added later, one is enough. Otherwise the number is fixed now: all that the device
    /// has, or as many as the machine can give.
    fn enable(&self, device: BorrowedFd<'_>) -> Result<u32, VfioError> {
        if self.dynamic {
            return match enable(device, 1)? {
                0 => Ok(self.vectors.into()),
                _ => Err(VfioError::BadAnswer("fewer than one interrupt vector")),
            };
        }
        let all = u32::from(self.vectors);
        match enable(device, all)? {
            0 => Ok(all),
            fewer if fewer < all && enable(device, fewer)? == 0 => Ok(fewer),
            _ => Err(VfioError::BadAnswer(
                "the number of free interrupt vectors changes",
            )),
        }
    }

    /// Switches MSI-X off.
    pub fn off(&self, device: BorrowedFd<'_>) -> Result<(), VfioError> {
        let mut state = self.state();
        if state.ready == 0 {
            Ok(())
        } else {
            switch_off(device, &mut state)
        }
    }

    /// Lets the kernel raise a vector's eventfd as if the device had.
    pub fn fire(&self, device: BorrowedFd<'_>, vector: u16) -> Result<(), VfioError> {
        let _state = self.state();
        let fired = uapi::set_irqs(device, MSIX, Trigger::Fire(vector.into()));
        fired.map(drop).map_err(VfioError::os("raise an MSI-X vector"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn info(device: BorrowedFd<'_>, index: u32) -> Result<Option<IrqInfo>, VfioError> {
    match uapi::query(device, Query::Irq(index)) {
        Ok(answer) => Ok(Some(IrqInfo::parse(&answer)?)),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(None), // not of this device
        Err(error) => Err(VfioError::os("ask for the device's interrupts")(error)),
    }
}

/// The kernel's number: 0, or how many vectors there are instead.
fn enable(device: BorrowedFd<'_>, count: u32) -> Result<u32, VfioError> {
    let silent = vec![None; count as usize];
    uapi::set_irqs(device, MSIX, Trigger::EventFds(0, &silent)).map_err(VfioError::os("switch MSI-X on"))
}

fn set(device: BorrowedFd<'_>, vector: u16, fd: Option<BorrowedFd<'_>>) -> Result<(), VfioError> {
    let done = uapi::set_irqs(device, MSIX, Trigger::EventFds(vector.into(), &[fd]));
    match done.map_err(VfioError::os("direct an MSI-X vector"))? {
        0 => Ok(()),
        _ => Err(VfioError::BadAnswer("fewer vectors than were switched on")),
    }
}

fn switch_off(device: BorrowedFd<'_>, state: &mut State) -> Result<(), VfioError> {
    uapi::set_irqs(device, MSIX, Trigger::Off).map_err(VfioError::os("switch MSI-X off"))?;
    *state = State::default();
    Ok(())
}

/// An eventfd for one of the device's own events (`VFIO_PCI_ERR_IRQ_INDEX`, `VFIO_PCI_REQ_IRQ_INDEX`); none where
/// the device or the kernel has no such event. The engine works without, so a failure is only told.
pub(super) fn event(device: BorrowedFd<'_>, index: u32) -> Option<EventFd> {
    let info = info(device, index).ok().flatten()?;
    if info.count == 0 || info.flags & VFIO_IRQ_INFO_EVENTFD == 0 {
        return None;
    }
    let register = || {
        let event = EventFd::new()?;
        uapi::set_irqs(device, index, Trigger::EventFds(0, &[Some(event.as_fd())])).map(|_| event)
    };
    register()
        .inspect_err(
            |error| tracing::warn!(index, %error, "the kernel will not tell of this device's events"),
        )
        .ok()
}

/// Takes such an eventfd away from the kernel.
pub(super) fn forget(device: BorrowedFd<'_>, index: u32) -> Result<(), VfioError> {
    let done = uapi::set_irqs(device, index, Trigger::EventFds(0, &[None]));
    done.map(drop)
        .map_err(VfioError::os("take an event's eventfd back"))
}
