use super::*;
use barline::pool::{Batch, Pool};
use barline_netif::testing::{RawSocket, enter, veth};
use std::thread::sleep;

/// Somebody takes the program off, which the kernel tells nobody: the port says so, once it looks, and can be stopped.
#[test]
fn a_program_that_is_taken_off_ends_the_run() {
    if let Err(why) = enter() {
        return eprintln!("SKIPPED: {why}");
    }
    let [near, far] = veth(1500).unwrap();
    let mut port = match AfXdp::open(&Options::new(&near), &Umems::default()) {
        Err(XdpError::NoSupport(what)) => return eprintln!("SKIPPED: no {what}"),
        opened => opened.unwrap(),
    };
    let pool = Pool::builder().packets(2048).build().unwrap();
    let config = PortConfig {
        promiscuous: true,
        ..PortConfig::new(&pool)
    };
    let mut queues = port.start(&config).unwrap();
    let (socket, mut cache, mut batch) = (RawSocket::open(&far).unwrap(), pool.cache(), Batch::new());
    let end = Instant::now() + Duration::from_secs(20);
    while queues.rx[0].receive(&mut cache, &mut batch) == 0 {
        assert!(Instant::now() < end, "no frame");
        socket.send(&[7; 60]);
    }
    cache.free(&mut batch);
    assert_eq!(port.event(), None);
    port.redirect.detach();
    let end = Instant::now() + Duration::from_secs(20);
    while port.event() != Some(PortEvent::Error) {
        assert!(Instant::now() < end, "it is not told");
        sleep(Duration::from_millis(10));
    }
    // It stays so: nothing of it comes back by itself.
    assert_eq!(port.event(), Some(PortEvent::Error));
    port.stop(queues).unwrap();
    drop(port);
    cache.flush();
    assert_eq!(pool.available(), pool.packets());
    AfXdp::open(&Options::new(&near), &Umems::default()).expect("it can be opened again");
}
