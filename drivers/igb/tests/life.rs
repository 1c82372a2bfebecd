//! What happens to the device as a whole, as the port tells it.

use barline::bus::PowerEvent;
use barline::bus::local::{LocalFunction, LocalPower};
use barline::mem::LocalDomain;
use barline::pool::{Batch, Pool};
use barline::port::{Port, PortEvent, Queues};
use barline::wait::EventFd;
use barline_conformance::{Lane, pool};
use barline_igb::Igb;
use barline_models::e82576::{E82576, Options};
use barline_sim::{Mode, SimDevice, Wire};
use std::os::fd::AsFd;
use std::sync::Arc;

struct Rig {
    port: Igb,
    pool: Pool,
    device: Arc<SimDevice<E82576>>,
    domain: Arc<LocalDomain>,
    request: Arc<EventFd>,
    error: Arc<EventFd>,
    power: Arc<LocalPower>,
}

fn rig() -> Rig {
    let domain = Arc::new(LocalDomain::new());
    let device = E82576::new(Options {
        mac: [2, 0, 0, 0, 0, 1],
        peer: Box::new(Wire::pair().0),
        domain: domain.clone(),
        mode: Mode::Sync,
    });
    let (request, error) = (
        Arc::new(EventFd::new().unwrap()),
        Arc::new(EventFd::new().unwrap()),
    );
    let address = "0000:01:00.0".parse().unwrap();
    let power = Arc::new(LocalPower::new().unwrap());
    let function = LocalFunction::new(device.clone(), address, domain.clone())
        .with_events(&request, &error)
        .with_power(&power);
    Rig {
        port: Igb::open(Arc::new(function)).unwrap(),
        pool: pool(1024),
        device,
        domain,
        request,
        error,
        power,
    }
}

#[test]
fn events_are_told_once_and_the_request_first() {
    let mut rig = rig();
    assert_eq!(rig.port.event_fds().len(), 3);
    assert_eq!(
        rig.port.event(),
        None,
        "a stopped port's registers are those of a reset"
    );
    let queues = rig.port.start(&Lane::config(&rig.pool)).unwrap();
    assert_eq!(rig.port.event(), None);
    rig.error.raise().unwrap();
    rig.request.raise().unwrap();
    let told = [rig.port.event(), rig.port.event(), rig.port.event()];
    assert_eq!(
        told,
        [Some(PortEvent::UnplugRequested), Some(PortEvent::Error), None]
    );
    barline::bus::local::LocalDevice::reset(&*rig.device);
    assert_eq!(rig.port.event(), Some(PortEvent::Reset));
    rig.port.stop(queues).unwrap();
    assert_eq!(rig.port.event(), None);
    let queues = rig.port.start(&Lane::config(&rig.pool)).unwrap();
    assert_eq!(rig.port.event(), None, "a start mends it");
    rig.device.surprise_remove();
    assert_eq!(rig.port.event(), Some(PortEvent::Gone));
    // It says so, and everything is back all the same.
    rig.port.stop(queues).unwrap_err();
    let Rig {
        port, pool, domain, ..
    } = rig;
    drop(port);
    assert_eq!((pool.available(), domain.mapped()), (1024, 0));
}

#[test]
fn queues_of_a_stopped_port_have_ended_wherever_they_are() {
    let mut rig = rig();
    let Queues { mut rx, mut tx } = rig.port.start(&Lane::config(&rig.pool)).unwrap();
    assert!(!rx[0].has_ended() && !tx[0].has_ended());
    rig.port.stop(Queues::default()).unwrap();
    assert!(rx[0].has_ended() && tx[0].has_ended());
    let before = rig.device.counts();
    let (mut cache, mut batch) = (rig.pool.cache(), Batch::new());
    batch.push(cache.alloc().unwrap()).unwrap();
    assert_eq!(tx[0].transmit(&mut cache, &mut batch), 0);
    assert_eq!((batch.len(), rx[0].receive(&mut cache, &mut batch)), (1, 0));
    // Nor is a sleeping core's queue armed any more.
    assert_eq!(rx[0].arm(), barline::wait::Armed::Silent);
    rx[0].disarm();
    assert_eq!(rig.device.counts(), before, "the device is left alone");
    assert!(
        rx[0]
            .wake_fd()
            .is_some_and(|fd| fd.as_fd().try_clone_to_owned().is_ok())
    );
}

#[test]
fn sleep_is_told_before_registers_are_asked() {
    let mut rig = rig();
    let queues = rig.port.start(&Lane::config(&rig.pool)).unwrap();
    rig.power.announce(PowerEvent::Suspend).unwrap();
    assert_eq!(rig.port.event(), Some(PortEvent::Suspend));
    assert_eq!(rig.port.event(), None, "told once");
    rig.port.stop(queues).unwrap();
    rig.port.acknowledge(PortEvent::Reset).unwrap();
    assert_eq!(rig.power.pending(), Some(PowerEvent::Suspend));
    rig.port.acknowledge(PortEvent::Suspend).unwrap();
    assert_eq!(rig.power.pending(), None);
    // A device that does not answer while a resume waits is not gone, eventfd or not.
    rig.power.announce(PowerEvent::Resume).unwrap();
    assert_eq!(rig.port.event(), Some(PortEvent::Resume));
    rig.device.surprise_remove();
    assert_eq!(rig.port.event(), Some(PortEvent::Resume));
    rig.port.acknowledge(PortEvent::Resume).unwrap();
    assert_eq!(rig.port.event(), Some(PortEvent::Gone));
}
