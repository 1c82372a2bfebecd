//! Two cores, and how far apart they are at the moment.
//!
//! On shared machines the time a cache line takes from one core to another changes by the second, by a factor of
//! six. A two-core window is therefore bracketed by two ping-pongs of a line and labelled by them; numbers of
//! different labels are not compared.

use crate::tsc::now;
use core_affinity::CoreId;
use crossbeam::utils::CachePadded;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The first two cores this process may use.
pub fn pair() -> Option<(CoreId, CoreId)> {
    let cores = core_affinity::get_core_ids()?;
    Some((*cores.first()?, *cores.get(1)?))
}

/// How far two cores are from each other: what a ping-pong before and one after a window said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Both hops took less than 150 counts.
    Near,
    /// Both took more.
    Far,
    /// The distance changed meanwhile: nothing to conclude.
    Mixed,
}

impl Distance {
    /// The label of a window between two ping-pongs.
    pub fn of(before: u64, after: u64) -> Self {
        match (before < 150, after < 150) {
            (true, true) => Self::Near,
            (false, false) => Self::Far,
            _ => Self::Mixed,
        }
    }
}

/// Counts one hop of a cache line takes between this thread, pinned to `here`, and a thread on `there`: the
/// median of 64 short runs.
pub fn hop(here: CoreId, there: CoreId) -> u64 {
    const RUNS: usize = 64;
    const TURNS: u32 = 50;
    let line = CachePadded::new(AtomicU32::new(0));
    core_affinity::set_for_current(here);
    thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(there);
            for turn in 0..RUNS as u32 * TURNS {
                while line.load(Ordering::Acquire) != turn * 2 + 1 {
                    spin_loop();
                }
                line.store(turn * 2 + 2, Ordering::Release);
            }
        });
        let mut times = [0; RUNS];
        let mut turn = 0;
        for time in &mut times {
            let start = now();
            for _ in 0..TURNS {
                line.store(turn * 2 + 1, Ordering::Release);
                while line.load(Ordering::Acquire) != turn * 2 + 2 {
                    spin_loop();
                }
                turn += 1;
            }
            *time = (now() - start) / u64::from(TURNS * 2);
        }
        times.sort_unstable();
        times[RUNS / 2]
    })
}
