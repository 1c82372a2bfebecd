//! A locked-memory limit that is too low is told before anything is mapped.
//!
//! A file of its own: the test gives up the whole process's right to lock any amount.

use barline::mem::{Access, DmaDomain, DmaError, DmaLimits, Iova, LocalDomain, PageSize, Plan, Source};
use barline_drivers::{Fault, OpenError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, geteuid, seteuid};
use std::ptr::NonNull;

/// An address space whose mappings count against the limit, as VFIO's do.
#[derive(Debug)]
struct Counting(LocalDomain);

impl DmaDomain for Counting {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError> {
        // SAFETY: the caller's promise, passed on as it is.
        unsafe { self.0.map(va, len, access) }
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        self.0.unmap(iova, len)
    }

    fn limits(&self) -> DmaLimits {
        DmaLimits {
            counts_memlock: true,
            ..self.0.limits()
        }
    }
}

#[test]
fn too_low_a_limit_is_named_with_the_command() {
    if geteuid().is_root() {
        // Nobody, who lacks CAP_IPC_LOCK.
        seteuid(Uid::from_raw(65534)).unwrap();
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
    let limit = hard.min(64 << 10);
    setrlimit(Resource::RLIMIT_MEMLOCK, limit, hard).unwrap();
    let domain = Counting(LocalDomain::new());
    let plan = |bytes| Plan::new().with(bytes, Source::MemFd(PageSize::Base4K));
    plan(limit as usize).check(&domain).unwrap();
    let error = OpenError::from(plan(8 << 20).check(&domain).unwrap_err());
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("ulimit -l 8192"), "{error}");
}
