use super::*;
use crate::chain::Rules;
use crate::split::Places;
use crate::sys::{GuestMemory, Region};
use barline::offload::Offloads;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

fn setup(memory: &Arc<GuestMemory>, base: u16) -> Arc<Setup> {
    Arc::new(Setup {
        memory: memory.clone(),
        places: Places {
            descriptors: 0,
            driver: 0x1000,
            device: 0x2000,
        },
        size: 16,
        base,
        fresh: false,
        packed: false,
        event_idx: false,
        mergeable: false,
        in_order: false,
        offloads: Offloads::empty(),
        rules: Rules {
            write: false,
            least: 12,
            indirect: false,
            most: 16,
        },
        call: None,
        error: None,
        kicks: true,
        log: None,
        log_ring: false,
    })
}

fn memory() -> Arc<GuestMemory> {
    let file = File::from(memfd_create(c"gate", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(0x3000).unwrap();
    let region = Region::new(&file, 0, 0x3000, 0, 0).unwrap();
    Arc::new(GuestMemory::default().with(region).unwrap())
}

#[test]
fn a_worker_that_does_not_run_holds_up_nothing() {
    let gate = Gate::new(&Arc::default()).unwrap();
    let mut pass = Pass::new(&gate, &Arc::default());
    assert!(pass.enter().is_none());
    pass.leave();
    let memory = memory();
    gate.open(setup(&memory, 7));
    assert_eq!(gate.close(), Ok(None), "nobody took it");
    gate.open(setup(&memory, 7));
    assert_eq!(pass.enter().map(|ring| ring.next()), Some(7));
    pass.leave_at();
    assert_eq!(gate.close(), Ok(Some(7)));
    assert!(pass.enter().is_none());
    pass.leave();
    assert_eq!(gate.close(), Ok(None), "it is closed");
}

#[test]
fn a_worker_in_the_middle_of_a_burst_is_waited_for() {
    let gate = Gate::new(&Arc::default()).unwrap();
    let mut pass = Pass::new(&gate, &Arc::default());
    gate.open(setup(&memory(), 0));
    assert!(pass.enter().is_some());
    assert_eq!(gate.close(), Err(Stuck), "it does not come out");
    pass.leave();
}

#[test]
fn no_burst_runs_behind_a_closed_gate() {
    let gate = Gate::new(&Arc::default()).unwrap();
    let (memory, inside) = (memory(), Arc::new(AtomicU64::new(0)));
    let mut pass = Pass::new(&gate, &Arc::default());
    let bursts = Arc::new(AtomicU64::new(0));
    let (seen, counted) = (inside.clone(), bursts.clone());
    let worker = std::thread::spawn(move || {
        while !pass.has_ended() {
            if pass.enter().is_some() {
                seen.store(1, SeqCst);
                counted.fetch_add(1, SeqCst);
                seen.store(0, SeqCst);
            }
            pass.leave();
        }
    });
    // On a busy machine the worker may come late.
    gate.open(setup(&memory, 0));
    while bursts.load(SeqCst) == 0 {
        yield_now();
    }
    gate.close().unwrap();
    for _ in 0..2000 {
        gate.open(setup(&memory, 0));
        yield_now();
        gate.close().unwrap();
        for _ in 0..50 {
            assert_eq!(inside.load(SeqCst), 0, "a burst runs behind the closed gate");
        }
    }
    gate.end();
    worker.join().unwrap();
}
