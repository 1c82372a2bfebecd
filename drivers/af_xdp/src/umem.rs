//! What the ports of a process share: one UMEM a pool, one redirect program an interface.

use crate::error::XdpError;
use crate::options::Mode;
use crate::program::Filter;
use crate::redirect::Redirect;
use crate::socket::Socket;
use crate::sys::umem::Umem;
use barline::pool::Pool;
use barline::port::PortError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The longest chunk: a page.
pub(crate) const PAGE: usize = 4096;
/// The shortest (`XDP_UMEM_MIN_CHUNK_SIZE`).
const LEAST: usize = 2048;
/// Bytes that the kernel leaves free in front of a received frame (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;
/// Receive buffers of NICs have lengths of so many bytes; one that is rounded up by a driver would reach into the next.
const GRAIN: usize = 128;

/// What the AF_XDP ports of a process share, so that several of them have one pool and one interface. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Umems(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By the address of the pool's memory.
    umems: Vec<(usize, Weak<Umem>)>,
    /// Sockets whose UMEM others can use, with what they were asked to be.
    sockets: Vec<(Wanted, Weak<Socket>)>,
    /// By the interface's number.
    redirects: Vec<(u32, Weak<Redirect>)>,
}

/// Sockets share a UMEM only where they were asked to be the same: they copy as the first one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `Umem`, by its address.
    pub umem: usize,
    /// Flags of bind.
    pub flags: u16,
}

/// Bytes of a chunk for buffers of `buffer` bytes, headroom included; `None` where they are too short.
pub(crate) fn chunk(buffer: usize) -> Option<usize> {
    let room = (buffer.min(PAGE)).checked_sub(HEADROOM)? / GRAIN * GRAIN;
    (room + HEADROOM >= LEAST).then_some(room + HEADROOM)
}

impl Umems {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The UMEM of a pool.
    pub(crate) fn of(&self, pool: &Pool) -> Result<Arc<Umem>, PortError> {
        let Some(chunk) = chunk(pool.buffer_len()) else {
            return Err(PortError::Config(format!(
                "AF_XDP needs buffers of {} bytes, headroom included, the pool's have {}; make the pool with data_room(2048)",
                LEAST.next_multiple_of(GRAIN),
                pool.buffer_len()
            )));
        };
        let at = pool.memory().as_ptr().as_ptr() as usize;
        let mut state = self.state();
        state.umems.retain(|(_, umem)| umem.strong_count() > 0);
        let known = state.umems.iter().find(|(known, _)| *known == at);
        if let Some(umem) = known.and_then(|(_, umem)| umem.upgrade()) {
            return Ok(umem);
        }
        let umem = Arc::new(Umem::new(chunk as u32));
        state.umems.push((at, Arc::downgrade(&umem)));
        Ok(umem)
    }

    /// A socket that has what is wanted.
    pub(crate) fn bound(&self, wanted: Wanted) -> Option<Arc<Socket>> {
        let mut state = self.state();
        state.sockets.retain(|(_, socket)| socket.strong_count() > 0);
        let mut fitting = state.sockets.iter().filter(|(known, _)| *known == wanted);
        fitting.find_map(|(_, socket)| socket.upgrade().filter(|socket| !socket.is_cut()))
    }

    /// Whether a port of this process has this queue.
    pub(crate) fn has(&self, interface: u32, queue: u32) -> bool {
        let state = self.state();
        let mut sockets = state.sockets.iter().filter_map(|(_, socket)| socket.upgrade());
        sockets.any(|socket| !socket.is_cut() && (socket.interface, socket.queue) == (interface, queue))
    }

    /// Others may use its UMEM.
    pub(crate) fn remember(&self, wanted: Wanted, socket: &Arc<Socket>) {
        self.state().sockets.push((wanted, Arc::downgrade(socket)));
    }

    /// The redirect program of an interface, attached if it is not.
    pub(crate) fn redirect(
        &self,
        interface: (&str, u32),
        mode: Mode,
        filter: &Filter,
    ) -> Result<Arc<Redirect>, XdpError> {
        let mut state = self.state();
        state
            .redirects
            .retain(|(_, redirect)| redirect.strong_count() > 0);
        let known = state.redirects.iter().find(|(index, _)| *index == interface.1);
        if let Some(redirect) = known.and_then(|(_, redirect)| redirect.upgrade()) {
            return Ok(redirect);
        }
        let redirect = Arc::new(Redirect::attach(interface, mode, filter)?);
        state.redirects.push((interface.1, Arc::downgrade(&redirect)));
        Ok(redirect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_are_what_kernel_and_drivers_take_and_stay_in_the_buffer(buffer in 0usize..70_000) {
            match chunk(buffer) {
                Some(chunk) => {
                    prop_assert!((LEAST..=PAGE).contains(&chunk) && chunk <= buffer);
                    prop_assert_eq!((chunk - HEADROOM) % GRAIN, 0);
                }
                None => prop_assert!(buffer < LEAST + GRAIN),
            }
        }
    }
}
