use super::{Doorbell, MmioError, Readable, Reg, Word, Writable};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The other way to a register: a simulator, or a hole in a mapping that only `pread` reaches.
pub trait Trap: Send + Sync + fmt::Debug {
    /// A 32-bit read at a byte offset that is a multiple of 4 and inside the BAR.
    fn read32(&self, offset: usize) -> u32;
    /// A 32-bit write, likewise.
    fn write32(&self, offset: usize, value: u32);
    /// A read of `bytes` (1, 2 or 4) at a multiple of that. Devices whose registers all have 32 bits leave it as it is.
    fn read_part(&self, offset: usize, bytes: usize) -> u32 {
        let word = self.read32(offset & !3) >> (offset % 4 * 8);
        word & ones(bytes)
    }
    /// A write, likewise.
    fn write_part(&self, offset: usize, bytes: usize, value: u32) {
        if bytes == 4 {
            return self.write32(offset, value);
        }
        let (at, shift) = (offset & !3, offset % 4 * 8);
        let rest = self.read32(at) & !(ones(bytes) << shift);
        self.write32(at, rest | (value & ones(bytes)) << shift);
    }
    /// The time by which the device is waited for: a simulation may have its own.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets that time pass.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The greatest value of so many bytes.
fn ones(bytes: usize) -> u32 {
    u32::MAX >> (32 - 8 * bytes.clamp(1, 4))
}

/// Device memory mapped into this process; the owner of the mapping is kept alive with it.
pub struct MappedBar {
    ptr: NonNull<u8>,
    len: usize,
    _owner: Arc<dyn std::any::Any + Send + Sync>,
}

// SAFETY: an address of device memory; all accesses are volatile cells of one register, which the bus serialises.
unsafe impl Send for MappedBar {}
// SAFETY: as above.
unsafe impl Sync for MappedBar {}

impl fmt::Debug for MappedBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedBar({} bytes)", self.len)
    }
}

impl MappedBar {
    /// Wraps a mapping of `len` bytes of device memory at `ptr`.
    ///
    /// # Safety
    /// `ptr..ptr+len` is readable and writable and stays mapped while `owner` lives; `ptr` is page aligned.
    pub unsafe fn new(ptr: NonNull<u8>, len: usize, owner: Arc<dyn std::any::Any + Send + Sync>) -> Self {
        Self {
            ptr,
            len,
            _owner: owner,
        }
    }

    /// Its addresses in this process.
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        let first = self.ptr.as_ptr() as usize;
        first..first + self.len
    }

    pub(super) fn cell(&self, offset: usize) -> NonNull<u32> {
        debug_assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        self.at(offset)
    }

    /// The caller has checked that a whole `T` lies inside, and that the offset is a multiple of its size.
    pub(super) fn at<T>(&self, offset: usize) -> NonNull<T> {
        // SAFETY: `Bar::inside` or `Bar::holds` checked the offset against the length.
        unsafe { self.ptr.add(offset) }.cast()
    }
}

#[derive(Clone)]
pub(super) enum Inner {
    Mapped(Arc<MappedBar>),
    Trapped(Arc<dyn Trap>),
}

/// A base-address region of a device: mapped, or trapped. Cheap to clone.
#[derive(Clone)]
pub struct Bar {
    pub(super) inner: Inner,
    len: usize,
}

impl Bar {
    /// A mapped BAR.
    pub fn mapped(bar: MappedBar) -> Self {
        let len = bar.len;
        Self {
            inner: Inner::Mapped(Arc::new(bar)),
            len,
        }
    }

    /// A trapped BAR of `len` bytes.
    pub fn trapped(trap: Arc<dyn Trap>, len: usize) -> Self {
        Self {
            inner: Inner::Trapped(trap),
            len,
        }
    }

    /// Length in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an absent BAR is an error when it is asked for"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reads a register. Outside the BAR it reads as all ones, as an absent device does.
    #[inline]
    pub fn read<A: Readable>(&self, reg: Reg<A>) -> u32 {
        if !self.inside(reg.offset()) {
            return u32::MAX;
        }
        match &self.inner {
            // SAFETY: an aligned 32-bit cell inside the mapping that `bar` keeps alive; volatile, because every
            // read has an effect on or depends on the device.
            Inner::Mapped(bar) => u32::from_le(unsafe { bar.cell(reg.offset()).read_volatile() }),
            Inner::Trapped(trap) => trap.read32(reg.offset()),
        }
    }

    /// Writes a register. Outside the BAR the write is lost, as with an absent device.
    #[inline]
    pub fn write<A: Writable>(&self, reg: Reg<A>, value: u32) {
        if !self.inside(reg.offset()) {
            return;
        }
        match &self.inner {
            // SAFETY: as in `read`.
            Inner::Mapped(bar) => unsafe { bar.cell(reg.offset()).write_volatile(value.to_le()) },
            Inner::Trapped(trap) => trap.write32(reg.offset(), value),
        }
    }

    /// Reads a register of another width than 32 bits, or one whose offset only the device tells. Outside the BAR, and
    /// where the offset is no multiple of the width, it reads as all ones.
    pub fn load<W: Word>(&self, offset: usize) -> W {
        if !self.holds::<W>(offset) {
            return W::ONES;
        }
        match &self.inner {
            // SAFETY: an aligned cell inside the mapping that `bar` keeps alive; volatile as in `read`.
            Inner::Mapped(bar) => unsafe { bar.at::<W>(offset).read_volatile() },
            Inner::Trapped(trap) => W::cut(trap.read_part(offset, size_of::<W>())),
        }
    }

    /// Writes one, likewise; lost where it would read as all ones.
    pub fn store<W: Word>(&self, offset: usize, value: W) {
        if !self.holds::<W>(offset) {
            return;
        }
        match &self.inner {
            // SAFETY: as in `load`.
            Inner::Mapped(bar) => unsafe { bar.at::<W>(offset).write_volatile(value) },
            Inner::Trapped(trap) => trap.write_part(offset, size_of::<W>(), value.widen()),
        }
    }

    fn holds<W: Word>(&self, offset: usize) -> bool {
        let end = offset.checked_add(size_of::<W>());
        end.is_some_and(|end| end <= self.len) && offset.is_multiple_of(size_of::<W>())
    }

    /// A doorbell of 16 bits at an offset that the device tells.
    ///
    /// # Errors
    /// [`MmioError::Outside`], also for an odd offset.
    pub fn doorbell16(&self, register: &'static str, offset: usize) -> Result<Doorbell, MmioError> {
        if self.holds::<u16>(offset) {
            return Ok(Doorbell::half(self.clone(), offset));
        }
        Err(MmioError::Outside {
            register,
            offset,
            len: self.len,
        })
    }

    /// Reads, changes and writes back a register.
    pub fn modify<A: Readable + Writable>(&self, reg: Reg<A>, change: impl FnOnce(u32) -> u32) {
        self.write(reg, change(self.read(reg)));
    }

    /// The time by which the device behind this BAR is waited for: this machine's, or a simulation's own.
    pub fn now(&self) -> Instant {
        match &self.inner {
            Inner::Mapped(_) => Instant::now(),
            Inner::Trapped(trap) => trap.now(),
        }
    }

    /// Lets that time pass. A driver that waits for its device waits by this, so that a simulation need not.
    pub fn pause(&self, time: Duration) {
        match &self.inner {
            Inner::Mapped(_) => std::thread::sleep(time),
            Inner::Trapped(trap) => trap.pause(time),
        }
    }

    /// Waits until `good` holds for a register, at most `limit`.
    ///
    /// # Errors
    /// [`MmioError::Timeout`], naming the register; [`MmioError::Gone`] when it reads as all ones at the end.
    pub fn wait<A: Readable>(
        &self,
        reg: Reg<A>,
        limit: Duration,
        good: impl Fn(u32) -> bool,
    ) -> Result<u32, MmioError> {
        let end = self.now() + limit;
        let mut pause = Duration::from_micros(2);
        loop {
            // The clock is read first: a thread that was off the CPU for the whole limit still looks once more.
            let late = self.now() >= end;
            let last = self.read(reg);
            if last != u32::MAX && good(last) {
                return Ok(last);
            }
            if late {
                let register = reg.name();
                return Err(match last {
                    u32::MAX => MmioError::Gone { register },
                    _ => MmioError::Timeout {
                        register,
                        waited_us: limit.as_micros() as u64,
                        last,
                    },
                });
            }
            self.pause(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// A doorbell on a register, checked here once.
    ///
    /// # Errors
    /// [`MmioError::Outside`].
    pub fn doorbell<A: Writable>(&self, reg: Reg<A>) -> Result<Doorbell, MmioError> {
        self.require(reg)?;
        Ok(Doorbell::new(self.clone(), reg.offset()))
    }

    /// Checks that a register lies inside the BAR.
    ///
    /// # Errors
    /// [`MmioError::Outside`].
    pub fn require<A: super::Access>(&self, reg: Reg<A>) -> Result<(), MmioError> {
        if self.inside(reg.offset()) {
            return Ok(());
        }
        Err(MmioError::Outside {
            register: reg.name(),
            offset: reg.offset(),
            len: self.len,
        })
    }

    #[inline]
    fn inside(&self, offset: usize) -> bool {
        offset.checked_add(4).is_some_and(|end| end <= self.len)
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.inner {
            Inner::Mapped(_) => "mapped",
            Inner::Trapped(_) => "trapped",
        };
        write!(f, "Bar({kind}, {} bytes)", self.len)
    }
}
