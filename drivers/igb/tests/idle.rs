//! Sleeping on the device's interrupts: no frame is missed at any step, none is reported while the queue is polled.

mod common;

use barline::bus::local::{LocalDevice, LocalFunction};
use barline::mem::LocalDomain;
use barline::pool::Batch;
use barline::port::{MacAddress, Port, RxQueue};
use barline::wait::{Alarm, Armed, Idle, IdlePolicy};
use barline_conformance::{Lane, Station, frame, pool};
use barline_igb::Igb;
use barline_models::e82576::{E82576, Options};
use barline_sim::{Mode, SimDevice, Wire, WireEnd};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// EIMS and GPIE (data sheet 8.8.3, 8.8.13).
const EIMS: u32 = 0x1524;
const MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 1]);

/// A bus that posts writes: they reach the device when a read pushes them there, or later. At one step of an access a
/// frame arrives.
#[derive(Debug)]
struct Posting {
    device: Arc<SimDevice<E82576>>,
    wire: WireEnd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Writes pass at once while this is off.
    on: bool,
    writes: Vec<(u8, usize, u32)>,
    /// Steps until the frame comes.
    left: Option<u32>,
}

impl Posting {
    fn step(&self) {
        let mut state = self.state.lock().unwrap();
        state.left = match state.left {
            Some(0) => {
                drop(state);
                assert!(self.wire.send(&frame(MAC, 60, 7)));
                self.state.lock().unwrap().left = None;
                return;
            }
            left => left.map(|left| left - 1),
        };
    }

    fn flush(&self) {
        let writes = std::mem::take(&mut self.state.lock().unwrap().writes);
        for (bar, offset, value) in writes {
            self.step();
            self.device.bar_write(bar, offset, value);
        }
        self.step();
    }

    fn post_from_now_on(&self, step: u32) {
        *self.state.lock().unwrap() = State {
            on: true,
            writes: Vec::new(),
            left: Some(step),
        };
    }

    /// Whatever is still on its way arrives; whether the frame did.
    fn settle(&self) -> bool {
        self.flush();
        let mut state = self.state.lock().unwrap();
        state.on = false;
        state.left.take().is_none()
    }
}

impl LocalDevice for Posting {
    fn config_read(&self, offset: u16, buf: &mut [u8]) {
        self.device.config_read(offset, buf);
    }

    fn config_write(&self, offset: u16, buf: &[u8]) {
        self.device.config_write(offset, buf);
    }

    fn bar_len(&self, index: u8) -> usize {
        self.device.bar_len(index)
    }

    fn bar_read(&self, index: u8, offset: usize) -> u32 {
        if self.state.lock().unwrap().on {
            self.flush();
        }
        let value = self.device.bar_read(index, offset);
        self.step();
        value
    }

    fn bar_write(&self, index: u8, offset: usize, value: u32) {
        if self.state.lock().unwrap().on {
            self.step();
            self.state.lock().unwrap().writes.push((index, offset, value));
        } else {
            self.device.bar_write(index, offset, value);
        }
    }

    // Registers of the 82576 have 32 bits.
    fn bar_read_part(&self, index: u8, offset: usize, bytes: usize) -> u32 {
        self.device.bar_read_part(index, offset, bytes)
    }

    fn bar_write_part(&self, index: u8, offset: usize, bytes: usize, value: u32) {
        self.device.bar_write_part(index, offset, bytes, value);
    }

    fn msix_vectors(&self) -> u16 {
        self.device.msix_vectors()
    }

    fn set_msix(&self, vector: u16, fd: Option<OwnedFd>) {
        self.device.set_msix(vector, fd);
    }

    fn reset(&self) {
        self.device.reset();
    }
}

fn model(mode: Mode) -> (Arc<SimDevice<E82576>>, WireEnd, Arc<LocalDomain>) {
    let domain = Arc::new(LocalDomain::new());
    let (near, far) = Wire::pair();
    let device = E82576::new(Options {
        mac: MAC.0,
        peer: Box::new(near),
        domain: domain.clone(),
        mode,
    });
    (device, far, domain)
}

/// What is in an eventfd.
fn raised(queue: &dyn RxQueue) -> u64 {
    let mut count = [0; 8];
    let fd = queue.wake_fd().expect("an eventfd");
    match nix::unistd::read(fd, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(_) => 0,
    }
}

/// Arms the queue while a frame comes at `step`; false when there are fewer steps than that.
fn arm_at(step: u32, frames_before: u64) -> bool {
    let (device, wire, domain) = model(Mode::Sync);
    let bus = Arc::new(Posting {
        device: device.clone(),
        wire,
        state: Mutex::default(),
    });
    let address = "0000:01:00.0".parse().unwrap();
    let function = LocalFunction::new(bus.clone(), address, domain);
    let mut port = Igb::open(Arc::new(function)).unwrap();
    let pool = pool(1024);
    let mut queues = port.start(&Lane::config(&pool)).unwrap();
    let (mut cache, mut batch) = (pool.cache(), Batch::new());
    let queue = &mut *queues.rx[0];
    for number in 0..frames_before {
        assert!(bus.wire.send(&frame(port.mac(), 60, number)));
        assert_eq!(queue.receive(&mut cache, &mut batch), 1);
        cache.free(&mut batch);
    }
    assert_eq!(raised(queue), 0, "polled queues are masked");
    bus.post_from_now_on(step);
    let armed = queue.arm();
    let came = bus.settle();
    let woken = raised(queue);
    if came {
        assert!(
            armed == Armed::Pending || woken == 1,
            "step {step}: {armed:?} and {woken} messages: the frame is missed"
        );
    } else {
        assert_eq!((armed, woken), (Armed::Wakes, 0), "step {step}: nothing came");
    }
    // One message a sleep, and none after it.
    for number in 0..3 {
        assert!(bus.wire.send(&frame(port.mac(), 60, number)));
    }
    assert!(woken + raised(queue) <= 1);
    queue.disarm();
    assert_eq!(device.model(|model| model.peek(EIMS)), 0, "masked again");
    assert_eq!(queue.receive(&mut cache, &mut batch), 3 + usize::from(came));
    cache.free(&mut batch);
    port.stop(queues).unwrap();
    came
}

#[test]
fn a_frame_at_any_step_of_arming_is_seen_or_wakes() {
    for frames_before in [0, 5] {
        let mut steps = 0;
        while arm_at(steps, frames_before) {
            steps += 1;
        }
        // Two writes and a read: before and behind each.
        assert!(steps >= 6, "{steps} steps");
    }
}

#[test]
fn a_polled_queue_is_never_reported_and_costs_no_register_access() {
    let domain = Arc::new(LocalDomain::new());
    let (station, device) = common::station(&domain, Mode::Sync, 0);
    let mut lane = Lane::at(station, &pool(1024), |_| {});
    let before = lane.far.costs().unwrap();
    let mac = lane.mac;
    lane.echo(2000, 32, 64, |number| frame(mac, 60, number));
    let after = lane.far.costs().unwrap();
    assert_eq!(after.reads, before.reads);
    assert_eq!(
        after.writes - before.writes,
        after.doorbells - before.doorbells,
        "doorbells and nothing else"
    );
    assert_eq!(
        (device.counts().interrupts, device.model(|model| model.peek(EIMS))),
        (0, 0)
    );
    lane.end();
}

#[test]
fn queues_beyond_the_vectors_and_ports_without_interrupts_are_silent() {
    let domain = Arc::new(LocalDomain::new());
    for (queues, interrupts, vectors) in [(16, true, 10), (2, true, 2), (2, false, 0)] {
        let (station, _device) = common::station(&domain, Mode::Sync, 0);
        let mut lane = Lane::at(station, &pool(16 * 1024), |config| {
            (config.rx_queues, config.interrupts) = (queues, interrupts);
        });
        for (at, queue) in lane.rx.iter_mut().enumerate() {
            let wanted = if at < vectors { Armed::Wakes } else { Armed::Silent };
            assert_eq!(
                (queue.arm(), queue.wake_fd().is_some()),
                (wanted, at < vectors),
                "queue {at}"
            );
            queue.disarm();
        }
        lane.end();
    }
}

#[test]
fn a_ring_without_buffers_is_silent() {
    let domain = Arc::new(LocalDomain::new());
    let (station, _device) = common::station(&domain, Mode::Sync, 0);
    let pool = pool(16);
    let mut lane = Lane::at(station, &pool, |_| {});
    let packets = {
        for number in 0..16 {
            lane.inject(&lane.frame(60, number));
        }
        lane.receive(16)
    };
    assert_eq!(
        lane.rx[0].arm(),
        Armed::Silent,
        "no frame can come, so none can wake"
    );
    drop((packets, pool));
    lane.end();
}

/// Sleeps that only an interrupt ends in time.
const NO_HELP: IdlePolicy = IdlePolicy {
    spin: Duration::ZERO,
    pause: Duration::ZERO,
    nap: Duration::from_secs(60),
    sleep: Duration::from_secs(60),
};

#[test]
fn a_core_sleeps_and_every_frame_wakes_it() {
    let domain = Arc::new(LocalDomain::new());
    for mode in [Mode::Thread, Mode::Sync] {
        let (Station { open, far }, _device) = common::station(&domain, mode, 0);
        let mut lane = Lane::at(
            Station {
                open,
                far: far.clone(),
            },
            &pool(1024),
            |_| {},
        );
        let (alarm, mac) = (Arc::new(Alarm::default()), lane.mac);
        let mut idle = Idle::new(NO_HELP, &alarm).unwrap();
        idle.watch(&lane.rx[0]).unwrap();
        let stats = idle.stats().clone();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for number in 0..50 {
                    // Most of them find the core asleep, some on its way there.
                    std::thread::sleep(Duration::from_micros(number * 37 % 2000));
                    assert!(far.inject(&frame(mac, 60, number)));
                }
            });
            let (mut batch, mut seen) = (Batch::new(), 0);
            while seen < 50 {
                let got = lane.rx[0].receive(&mut lane.cache, &mut batch);
                seen += got;
                lane.cache.free(&mut batch);
                idle.turn(got > 0, &mut lane.rx);
            }
        });
        assert!(
            stats.source_wakes.get() > 0 && stats.timer_wakes.get() == 0,
            "{stats:?}"
        );
        idle.forget(&lane.rx[0]);
        lane.end();
    }
}
