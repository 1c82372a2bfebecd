use super::super::Container;
use super::{map_dma, unmap_dma};
use crate::mem::{Access, DmaDomain, DmaError, DmaLimits, Iova};
use nix::errno::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

impl DmaDomain for Container {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, access: Access) -> Result<Iova, DmaError> {
        self.with_space(len, |fd, space| {
            let iova = space.reserve(va.as_ptr() as usize, len)?;
            // SAFETY: the caller's promise is the one asked for.
            if let Err(source) = unsafe { map_dma(fd, va, len, iova, access) } {
                space.cancel(iova, len);
                return Err(refused(source, iova, len));
            }
            space.mapped(iova, len);
            Ok(iova)
        })
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        self.with_space(len, |fd, space| {
            if !space.is_mapped(iova, len) {
                return Err(DmaError::NotMapped { iova, len });
            }
            // On an error the addresses stay taken: a later mapping there could still reach the old memory.
            take_away(fd, iova, len)?;
            space.unmapped(iova, len);
            Ok(())
        })
    }

    fn limits(&self) -> DmaLimits {
        self.kernel_limits()
    }
}

fn take_away(fd: BorrowedFd<'_>, iova: Iova, len: usize) -> Result<(), DmaError> {
    let unmapped = unmap_dma(fd, iova, len).map_err(|source| DmaError::Os { len, source })?;
    if unmapped == len as u64 {
        Ok(())
    } else {
        Err(DmaError::ShortUnmap { iova, len, unmapped })
    }
}

/// What type1's errors to MAP mean.
fn refused(source: io::Error, iova: Iova, len: usize) -> DmaError {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EEXIST) => DmaError::Exists { iova, len },
        Some(Errno::ENOSPC) => DmaError::NoEntries,
        Some(Errno::ENOMEM) => DmaError::Memlock { len },
        _ => DmaError::Os { len, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_map_are_told_apart() {
        let told = |errno: Errno| refused(errno.into(), Iova::new(0x1000), 4096);
        assert!(matches!(told(Errno::EEXIST), DmaError::Exists { len: 4096, .. }));
        assert!(matches!(told(Errno::ENOSPC), DmaError::NoEntries));
        assert!(matches!(told(Errno::ENOMEM), DmaError::Memlock { len: 4096 }));
        assert!(matches!(told(Errno::EINVAL), DmaError::Os { .. }));
    }
}
