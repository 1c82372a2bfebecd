//! A pool's memory as a UMEM: the address space of AF_XDP sockets.

use super::xsk;
use barline::mem::{Access, DmaDomain, DmaError, DmaLimits, Iova, Window};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The IOVA of a UMEM's first byte: no pointer, and no offset, is taken for an IOVA.
pub(crate) const BASE: u64 = 1 << 50;
/// Addresses in descriptors have 48 bits.
const SPACE: u64 = 1 << 48;

/// Memory that is registered, or is going to be.
#[derive(Debug)]
pub(crate) struct Umem {
    chunk: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Option<(NonNull<u8>, usize)>,
    /// A socket with the registration and nothing else.
    seed: Option<OwnedFd>,
}

// SAFETY: an address that nobody reads or writes through.
unsafe impl Send for State {}

impl Umem {
    /// In chunks of so many bytes: what the kernel may use from a buffer's start on.
    pub fn new(chunk: u32) -> Self {
        Self {
            chunk,
            state: Mutex::default(),
        }
    }

    /// Bytes of a chunk.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket with the memory registered, for who keeps the mapping as long as the socket is open.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        let mut state = self.state();
        if let Some(seed) = state.seed.take() {
            return Ok(seed);
        }
        let Some((at, len)) = state.memory else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        // SAFETY: mapped, and not unmapped as long as the socket is open (caller, and `DmaDomain::map`).
        unsafe { registered(at, len, self.chunk) }
    }
}

/// # Safety
/// As [`xsk::register`].
unsafe fn registered(at: NonNull<u8>, len: usize, chunk: u32) -> io::Result<OwnedFd> {
    let socket = xsk::socket()?;
    // SAFETY: the caller's promise.
    unsafe { xsk::register(socket.as_fd(), at, len, chunk) }?;
    Ok(socket)
}

/// What a failed registration means: the kernel says "no buffer space" for too little locked memory.
pub(crate) fn refused(error: io::Error, len: usize) -> DmaError {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => DmaError::Memlock { len },
        _ => DmaError::Os { len, source: error },
    }
}

impl DmaDomain for Umem {
    unsafe fn map(&self, va: NonNull<u8>, len: usize, _access: Access) -> Result<Iova, DmaError> {
        let mut state = self.state();
        if state.memory.is_some() {
            return Err(DmaError::NoEntries);
        }
        // SAFETY: the caller's promise.
        let seed = unsafe { registered(va, len, self.chunk) }.map_err(|error| refused(error, len))?;
        *state = State {
            memory: Some((va, len)),
            seed: Some(seed),
        };
        Ok(Iova::new(BASE))
    }

    fn unmap(&self, iova: Iova, len: usize) -> Result<(), DmaError> {
        let mut state = self.state();
        match state.memory {
            Some((_, known)) if iova.raw() == BASE && len == known => {
                *state = State::default();
                Ok(())
            }
            _ => Err(DmaError::NotMapped { iova, len }),
        }
    }

    fn limits(&self) -> DmaLimits {
        DmaLimits {
            windows: vec![Window {
                first: BASE,
                last: BASE + SPACE - 1,
            }],
            page_sizes: 1 << 12,
            entries_left: Some(u32::from(self.state().memory.is_none())),
            counts_memlock: true,
        }
    }
}
