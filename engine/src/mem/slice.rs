use super::{Iova, Mapping};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

mod sealed {
    pub trait Sealed {}
}

/// Words that a device may write at any moment: only arrays of atomics, for which every bit pattern is a value
/// and a shared reference is sound.
pub trait DescWords: sealed::Sealed + Send + Sync + 'static {}

macro_rules! desc_words {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl DescWords for $word {}
        impl<const N: usize> sealed::Sealed for [$word; N] {}
        impl<const N: usize> DescWords for [$word; N] {}
    )*};
}
desc_words!(AtomicU8, AtomicU16, AtomicU32, AtomicU64);

/// The 16-byte descriptor of most NICs, as two 64-bit words.
pub type Desc16 = [AtomicU64; 2];

/// An array of descriptors in mapped memory, shared with the device.
///
/// The length is a power of two, so that [`DmaSlice::at`] needs a mask and no bounds check.
pub struct DmaSlice<T: DescWords> {
    first: NonNull<T>,
    mask: u32,
    iova: Iova,
    mapping: Arc<Mapping>,
    words: PhantomData<T>,
}

// SAFETY: the words are atomics in memory that the mapping keeps alive.
unsafe impl<T: DescWords> Send for DmaSlice<T> {}
// SAFETY: as above.
unsafe impl<T: DescWords> Sync for DmaSlice<T> {}

impl<T: DescWords> DmaSlice<T> {
    /// `len` descriptors from byte `offset` of `mapping` on.
    ///
    /// `None` unless `len` is a power of two, the offset is aligned for `T`, and all of it lies in the mapping.
    pub fn new(mapping: &Arc<Mapping>, offset: usize, len: u32) -> Option<Self> {
        let bytes = (len as usize).checked_mul(size_of::<T>())?;
        let end = offset.checked_add(bytes)?;
        if !len.is_power_of_two() || end > mapping.len() || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: `offset` is inside the mapping (checked above).
        let first = unsafe { mapping.as_ptr().add(offset) }.cast::<T>();
        let iova = mapping.iova().offset(offset as u64);
        Some(Self {
            first,
            mask: len - 1,
            iova,
            mapping: mapping.clone(),
            words: PhantomData,
        })
    }

    /// The descriptor at a free-running index, taken modulo the length.
    #[inline(always)]
    pub fn at(&self, index: u32) -> &T {
        // SAFETY: the masked index is below the length that `new` checked against the mapping, which this value
        // keeps alive; `T` is atomics only, so the device may write at the same time.
        unsafe { self.first.add((index & self.mask) as usize).as_ref() }
    }

    /// Number of descriptors.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a slice is never empty: its length is a power of two"
    )]
    pub fn len(&self) -> u32 {
        self.mask + 1
    }

    /// Length minus one.
    #[inline(always)]
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// The device's address of the first descriptor.
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// Size of the whole array in bytes.
    pub fn size_bytes(&self) -> usize {
        self.len() as usize * size_of::<T>()
    }

    /// The mapping that it stands in.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

impl<T: DescWords> fmt::Debug for DmaSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DmaSlice({} x {} bytes at {})",
            self.len(),
            size_of::<T>(),
            self.iova
        )
    }
}
