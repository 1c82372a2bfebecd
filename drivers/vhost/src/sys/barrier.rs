//! A memory barrier in all threads of the process at once (membarrier(2), Linux 4.14), so that a poller needs none of its own.

use crate::turn::Barrier;
use nix::libc::{self, c_int, c_long};
use std::sync::OnceLock;

/// The kernel's, where it has one and lets us use it: a container's filter may not.
pub(crate) fn everywhere() -> Option<Barrier> {
    static THERE: OnceLock<bool> = OnceLock::new();
    let register = || call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    // Tried once, too: what is promised here must not fail later.
    let there = *THERE.get_or_init(|| register() && barrier());
    there.then_some(barrier as Barrier)
}

/// The kernel may be out of memory for a moment.
const TRIES: u32 = 100;

fn barrier() -> bool {
    (0..TRIES).any(|_| call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED))
}

fn call(command: c_int) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command as c_long, 0 as c_long) == 0 }
}
