use super::super::Container;
use super::{map_dma, unmap_dma};
use crate::mem::{Access, DmaDomain, DmaError, DmaLimits, Iova};
use std::ptr::NonNull;

impl DmaDomain for Container {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError> {
        self.with_space(len, |fd, space| {
            space.map(va.as_ptr() as usize, len, |iova| {
                // SAFETY: the caller's promise is the one asked for.
                unsafe { map_dma(fd, va, len, iova, access) }
            })
        })
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        self.with_space(len, |fd, space| {
            space.unmap(iova, len, || unmap_dma(fd, iova, len))
        })
    }

    fn limits(&self) -> DmaLimits {
        self.kernel_limits()
    }
}
