use super::page::choose;
use super::{Access, DmaDomain, DmaError, Iova};
use super::{MemoryError, PageSize, Source, hugepage};
use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// The NUMA node that memory is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Numa {
    /// Wherever the kernel puts it (the node of the thread that allocates).
    #[default]
    Any,
    /// This node only.
    Node(u32),
}

/// Host memory fit for DMA: whole pages, zeroed, touched, kept out of forks. Not reachable by a device until it
/// is mapped ([`Mapping`]).
#[derive(Debug)]
pub struct Memory {
    ptr: NonNull<u8>,
    len: usize,
    page: PageSize,
    fd: Option<OwnedFd>,
    arena: Option<NonNull<u8>>,
}

// SAFETY: `Memory` only owns address space; whoever reads and writes it does so under its own rules.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives out addresses and nothing else.
unsafe impl Sync for Memory {}

/// Size and alignment of the address space reserved for one arena. A pointer into the arena, rounded down to
/// this, is the arena's base.
pub(crate) const ARENA: usize = 16 << 30;

impl Memory {
    /// `len` bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`MemoryError`]: too few huge pages, or what the kernel said. Nothing stays allocated.
    pub fn new(len: usize, source: Source, numa: Numa) -> Result<Arc<Self>, MemoryError> {
        let size = choose(source, len)?;
        // SAFETY: no fixed address.
        let pages = unsafe { hugepage::map_pages(source, size, len, None) }?;
        let memory = Self {
            ptr: pages.ptr,
            len: pages.len,
            page: pages.size,
            fd: pages.fd,
            arena: None,
        };
        memory.prepare(numa)?;
        Ok(Arc::new(memory))
    }

    /// Like [`Memory::new`], inside an arena of its own: [`ARENA`] bytes of address space at a multiple of
    /// [`ARENA`], whose first base page is ordinary memory that no device ever reaches (the pool's header), and
    /// whose part from one page size on is the memory.
    ///
    /// How long it has to be depends on its pages: `len` tells.
    pub(crate) fn in_arena(
        len: impl Fn(PageSize) -> usize,
        source: Source,
        numa: Numa,
    ) -> Result<Arc<Self>, MemoryError> {
        let size = choose(source, len(PageSize::Huge2M))?;
        let (len, most) = (len(size), ARENA - PageSize::Huge1G.bytes());
        if len > most {
            return Err(MemoryError::BadLength(len, most));
        }
        let base = hugepage::reserve_aligned(ARENA, ARENA)?;
        // Owns the reservation from here on, so that an error below gives it back.
        let mut memory = Self {
            ptr: base,
            len: 0,
            page: size,
            fd: None,
            arena: Some(base),
        };
        // SAFETY: one base page at the start of our own reservation.
        unsafe { hugepage::map_header(base) }?;
        // SAFETY: `size` is at most 1 GiB and `len` leaves room for it, so the range lies in our reservation.
        let at = unsafe { base.add(size.bytes()) };
        // SAFETY: `at..` is our own reservation, used by nobody.
        let pages = unsafe { hugepage::map_pages(source, size, len, Some(at)) }?;
        (memory.ptr, memory.len, memory.fd) = (pages.ptr, pages.len, pages.fd);
        memory.prepare(numa)?;
        Ok(Arc::new(memory))
    }

    /// Binds, then touches every page, so that the first packet does not fault.
    fn prepare(&self, numa: Numa) -> Result<(), MemoryError> {
        if let Numa::Node(node) = numa {
            bind(self.ptr, self.len, node)?;
        }
        for offset in (0..self.len).step_by(self.page.bytes()) {
            // SAFETY: inside our own fresh mapping, which nobody else has seen. Volatile, so it is not removed.
            unsafe { self.ptr.add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// The first byte.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Length in bytes: whole pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: there is no empty memory.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages under it.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// The memfd, where there is one, to share the memory with another process.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// The base of the arena it stands in.
    pub(crate) fn arena(&self) -> Option<NonNull<u8>> {
        self.arena
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let (at, len) = match self.arena {
            Some(base) => (base, ARENA),
            None => (self.ptr, self.len),
        };
        // SAFETY: our own mapping (or the whole reservation it stands in); every `Mapping`, pool and ring that
        // points into it holds an `Arc` of this memory, so none is left.
        let _ = unsafe { nix::sys::mman::munmap(at.cast::<c_void>(), len) };
    }
}

fn bind(ptr: NonNull<u8>, len: usize, node: u32) -> Result<(), MemoryError> {
    const STEP: &str = "bind DMA memory to its NUMA node (is the node online?)";
    let mut mask = [0u64; 16];
    let word = mask
        .get_mut(node as usize / 64)
        .ok_or_else(|| MemoryError::os(STEP, nix::Error::EINVAL))?;
    *word = 1 << (node % 64);
    // SAFETY: the mask outlives the call; mbind changes the placement of our own pages only.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            ptr.as_ptr(),
            len,
            libc::MPOL_BIND,
            mask.as_ptr(),
            1024usize,
            0usize,
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(MemoryError::os(STEP, nix::Error::last()))
}

/// The registration of one [`Memory`] with one [`DmaDomain`]: one MAP call, undone on drop.
///
/// Drop order: unmap first, then the memory. If the unmap fails, the memory is leaked on purpose: a device may
/// still reach it.
#[derive(Debug)]
pub struct Mapping {
    memory: Option<Arc<Memory>>,
    domain: Arc<dyn DmaDomain>,
    iova: Iova,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: owns two `Send + Sync` things and two addresses it never reads through.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the whole of `memory` into `domain`.
    ///
    /// # Errors
    /// What the domain answers.
    pub fn new(
        memory: &Arc<Memory>,
        domain: &Arc<dyn DmaDomain>,
        access: Access,
    ) -> Result<Arc<Self>, DmaError> {
        let (ptr, len) = (memory.as_ptr(), memory.len());
        // SAFETY: this value holds the memory until its drop has unmapped it; memory with a descriptor is a shared mapping
        // of the whole file.
        let iova = unsafe { domain.map_file(ptr, len, access, memory.fd()) }?;
        Ok(Arc::new(Self {
            memory: Some(memory.clone()),
            domain: domain.clone(),
            iova,
            ptr,
            len,
        }))
    }

    /// The device's address of the first byte.
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// The first byte.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The domain it is registered with.
    pub fn domain(&self) -> &Arc<dyn DmaDomain> {
        &self.domain
    }

    /// What to add to an address inside the memory to get its IOVA (wrapping).
    pub(crate) fn delta(&self) -> u64 {
        self.iova.raw().wrapping_sub(self.ptr.as_ptr() as u64)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Err(error) = self.domain.unmap(self.iova, self.len) {
            tracing::error!(%error, "DMA memory could not be unmapped and is leaked");
            std::mem::forget(self.memory.take());
        }
    }
}
