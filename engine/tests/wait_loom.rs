//! Models of going to sleep: no wake-up is lost. `RUSTFLAGS="--cfg loom" cargo test -p barline --release --test wait_loom`
#![cfg(loom)]

use barline::mem::order;
use barline::wait::{Alarm, Raise};
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;
use std::fmt;

/// An eventfd: who sleeps on one that nobody raises is a deadlock, which loom reports. A sleep may end early.
#[derive(Clone)]
struct Event(Arc<Notify>);

impl Event {
    fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    fn sleep(&self) {
        self.0.wait();
    }
}

impl Raise for Event {
    fn raise(&self) {
        self.0.notify();
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

/// All orders in which threads are preempted no more than three times; more finds nothing new in models of this size.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Two bringers of news and a core that sleeps whenever there are none.
#[test]
fn news_wake_a_sleeper_or_are_seen() {
    check(|| {
        let event = Event::new();
        let alarm = Arc::new(Alarm::with_event(event.clone()));
        let value = Arc::new(AtomicU32::new(0));
        let bringers: Vec<_> = [1, 2]
            .into_iter()
            .map(|bit| {
                let (alarm, value) = (alarm.clone(), value.clone());
                thread::spawn(move || {
                    value.fetch_or(bit, Ordering::Relaxed);
                    alarm.ring(bit);
                })
            })
            .collect();
        let mut seen = 0;
        while seen != 3 {
            let news = alarm.take(3);
            // What a bringer did before it rang can be seen with its bit.
            assert_eq!(value.load(Ordering::Relaxed) & news, news);
            seen |= news;
            if seen != 3 && alarm.arm() {
                event.sleep();
                alarm.disarm();
            }
        }
        bringers.into_iter().for_each(|bringer| bringer.join().unwrap());
    });
}

/// A device's side of an interrupt. Registers are changed in the order in which writes arrive, under the lock; a write
/// that was posted has arrived when a read has returned.
#[derive(Debug, Default)]
struct Registers {
    enabled: bool,
    cause: bool,
}

#[derive(Debug)]
struct Device {
    registers: Mutex<Registers>,
    done: AtomicBool,
    event: Event,
}

impl Device {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            // From the time when the core polled.
            registers: Mutex::new(Registers {
                enabled: false,
                cause: true,
            }),
            done: AtomicBool::new(false),
            event: Event::new(),
        })
    }

    /// Writes a descriptor back, then reports it: once, and masks itself.
    fn receive(&self) {
        self.done.store(true, Ordering::Release);
        let mut registers = self.registers.lock().unwrap();
        registers.cause = true;
        self.report(&mut registers);
    }

    fn report(&self, registers: &mut Registers) {
        if registers.enabled && registers.cause {
            *registers = Registers::default();
            self.event.raise();
        }
    }

    fn clear(&self) {
        self.registers.lock().unwrap().cause = false;
    }

    fn enable(&self) {
        let mut registers = self.registers.lock().unwrap();
        registers.enabled = true;
        self.report(&mut registers);
    }

    /// The last look before a sleep.
    fn is_quiet(&self) -> bool {
        fence(Ordering::SeqCst);
        !self.done.load(Ordering::Acquire)
    }
}

/// The order of the driver: clear, let through, look, sleep. A frame at any moment ends the sleep or prevents it.
#[test]
fn a_frame_wakes_a_sleeper_or_is_seen() {
    check(|| {
        let device = Device::new();
        let there = device.clone();
        let frame = thread::spawn(move || there.receive());
        device.clear();
        device.enable();
        while device.is_quiet() {
            device.event.sleep();
        }
        frame.join().unwrap();
    });
}

/// A device that is told by a word in memory, not by a register, whether it is to report: nothing but the barrier between
/// that store and the look at the ring keeps them in order.
#[test]
fn a_frame_wakes_a_sleeper_whose_interrupt_is_a_word_in_memory() {
    check(|| {
        let (armed, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let event = Event::new();
        let (to, from, there) = (armed.clone(), done.clone(), event.clone());
        let device = thread::spawn(move || {
            from.store(true, Ordering::Release);
            fence(Ordering::SeqCst);
            if to.load(Ordering::Relaxed) {
                there.raise();
            }
        });
        armed.store(true, Ordering::Relaxed);
        order::dma_mb();
        if !done.load(Ordering::Acquire) {
            event.sleep();
        }
        device.join().unwrap();
    });
}
