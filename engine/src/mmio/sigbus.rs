use super::Bar;
use super::bar::{Inner, MappedBar};
use std::ptr::NonNull;
use std::sync::Weak;

/// What an application's own SIGBUS handler needs to survive the loss of a device.
///
/// The kernel takes a mapped BAR away from under a process when the device is reset, put to sleep or removed by
/// somebody else; the next access raises SIGBUS, and that ends the process. The engine installs no handler: signals
/// are the application's. One that wants to live on makes a guard for each port's registers, keeps it where its
/// handler finds it, and calls [`BarGuard::absorb`] there with the fault's address (`si_addr`); what the guard does not
/// know it passes on. After that the registers read as all ones, as those of a device that is gone, and the port says
/// so.
///
/// A guard does not keep the mapping, nor the device open.
#[derive(Clone, Debug)]
pub struct BarGuard(Weak<MappedBar>);

impl BarGuard {
    /// For a mapped BAR; a trapped one raises no signals.
    pub fn new(bar: &Bar) -> Option<Self> {
        match &bar.inner {
            Inner::Mapped(mapped) => Some(Self(std::sync::Arc::downgrade(mapped))),
            Inner::Trapped(_) => None,
        }
    }

    /// If `address` lies in the BAR, puts a page of ones in the place of the device's, for good, and says true: the
    /// access that failed can be tried again. May be called in a signal handler: it takes no lock and allocates nothing.
    pub fn absorb(&self, address: usize) -> bool {
        let Some(bar) = self.0.upgrade() else {
            return false;
        };
        let range = bar.range();
        let page = page_size();
        let first = address & !(page - 1);
        let inside = range.contains(&address) && range.contains(&first);
        // Not the last reference: whoever made the access has one.
        inside && replace(first, page)
    }
}

fn page_size() -> usize {
    // SAFETY: asks for a constant of the process.
    let size = unsafe { nix::libc::sysconf(nix::libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Maps a page of ones at `first`.
fn replace(first: usize, page: usize) -> bool {
    use nix::libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap};
    // SAFETY: the page is one of a BAR's mapping, which the caller holds; whoever accesses it does so by volatile cells and
    // takes any value. The later unmapping covers it.
    let at = unsafe {
        mmap(
            first as *mut _,
            page,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
            -1,
            0,
        )
    };
    let Some(at) = NonNull::new(at.cast::<u8>()).filter(|_| at != MAP_FAILED) else {
        return false;
    };
    // SAFETY: a fresh page of our own.
    unsafe { at.write_bytes(0xff, page) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::{RO, Reg};
    use nix::libc;
    use std::os::fd::AsFd;
    use std::sync::{Arc, OnceLock};

    static GUARD: OnceLock<BarGuard> = OnceLock::new();

    extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a valid structure to a handler installed with SA_SIGINFO.
        let address = unsafe { (*info).si_addr() } as usize;
        if !GUARD.get().is_some_and(|guard| guard.absorb(address)) {
            std::process::abort();
        }
    }

    /// Length of a file that plays the device's memory.
    const LEN: usize = 8192;

    fn bar_over(file: &std::fs::File) -> Bar {
        let len = LEN.try_into().unwrap();
        let flags = nix::sys::mman::MapFlags::MAP_SHARED;
        let access = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file of the test's own.
        let at = unsafe { nix::sys::mman::mmap(None, len, access, flags, file.as_fd(), 0) }.unwrap();
        // SAFETY: just mapped; the test ends with the process, which unmaps it.
        Bar::mapped(unsafe { MappedBar::new(at.cast(), LEN, Arc::new(())) })
    }

    #[test]
    fn a_device_that_is_taken_away_reads_as_ones() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN as u64).unwrap();
        let bar = bar_over(&file);
        GUARD.set(BarGuard::new(&bar).unwrap()).unwrap();
        // SAFETY: zeros are an empty signal set and no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler only does what may be done in one.
        let set = unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        let (first, last) = (Reg::<RO>::new("first", 0), Reg::<RO>::new("last", LEN as u32 - 4));
        assert_eq!((bar.read(first), bar.read(last)), (0, 0));
        file.set_len(0).unwrap();
        assert_eq!((bar.read(last), bar.read(first)), (u32::MAX, u32::MAX));
        let guard = GUARD.get().unwrap();
        assert!(!guard.absorb(handler as *const () as usize), "not of this BAR");
        drop(bar);
        assert!(!guard.absorb(0), "it does not keep the BAR");
    }
}
