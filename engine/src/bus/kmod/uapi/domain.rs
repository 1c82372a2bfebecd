use super::super::Ioas;
use super::{ioas_map, ioas_unmap};
use crate::mem::{Access, DmaDomain, DmaError, DmaLimits, Iova};
use std::ptr::NonNull;

impl DmaDomain for Ioas {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError> {
        self.with_space(len, |fd, space| {
            space.map(va.as_ptr() as usize, len, |iova| {
                // SAFETY: the caller's promise is the one asked for.
                unsafe { ioas_map(fd, va, len, iova, access) }
            })
        })
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        self.with_space(len, |fd, space| {
            space.unmap(iova, len, || ioas_unmap(fd, iova, len))
        })
    }

    fn limits(&self) -> DmaLimits {
        self.kernel_limits()
    }
}
