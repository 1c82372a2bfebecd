//! A forwarder: `cargo run --release -p barline-drivers --example forward -- [PORT,PORT]`, ports as in `sim:82576` or `0000:01:00.0`.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use barline::pool::{Batch, Pool};
use barline::port::{PortConfig, Queues};
use barline::worker::Worker;
use barline_drivers::{Feed, Opener, PortSpec};
use std::{env, error::Error, thread::sleep, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let names = env::args().nth(1).unwrap_or("sim:82576,sim:82576".into());
    let mut opener = Opener::new(Feed::Generated); // what simulated ports receive
    let pool = Pool::builder().packets(4096).build()?;
    let (mut ports, mut queues) = (Vec::new(), Vec::new());
    for spec in PortSpec::parse_list(&names)? {
        let mut port = opener.open(&spec)?.port;
        queues.push(port.start(&PortConfig::new(&pool))?);
        ports.push(port);
    }
    let worker = Worker::spawn(None, "forward", move |stop| {
        let (mut cache, mut batch) = (pool.cache(), Batch::with_burst(32));
        while !stop.is_stopped() {
            for from in 0..queues.len() {
                let to = (from + 1) % queues.len();
                if queues[from].rx[0].receive(&mut cache, &mut batch) == 0 {
                    queues[to].tx[0].reclaim(&mut cache); // idle: take back what was sent
                }
                queues[to].tx[0].transmit(&mut cache, &mut batch);
                cache.free(&mut batch); // what found no room is dropped
            }
        }
        queues
    })?;
    sleep(Duration::from_secs(3));
    worker.stop();
    let queues: Vec<Queues> = worker.join()?; // they come back by value
    for (port, queues) in ports.iter_mut().zip(queues) {
        let (rx, tx) = (queues.rx[0].counters(), queues.tx[0].counters());
        let (received, sent) = (rx.rx_packets.get(), tx.tx_packets.get());
        println!("{}: received {received}, sent {sent}", port.mac());
        port.stop(queues)?;
    }
    Ok(())
}
