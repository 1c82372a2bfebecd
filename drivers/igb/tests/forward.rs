//! The driver on the model: frames through two ports.

use barline::bus::local::LocalFunction;
use barline::mem::LocalDomain;
use barline::pool::{Batch, Pool};
use barline::port::{Port, PortConfig};
use barline_igb::Igb;
use barline_models::e82576::{E82576, Options};
use barline_sim::{FrameSpec, Generator, Mode, SimDevice, Sink, Traffic};
use std::sync::Arc;

const FRAMES: u64 = 20_000;

fn port(domain: &Arc<LocalDomain>, index: u8, sink: &Sink) -> (Igb, Arc<SimDevice<E82576>>) {
    let mac = [0x02, 0, 0, 0, 0, index];
    let spec = FrameSpec {
        destination: mac,
        limit: Some(FRAMES),
        sizes: vec![60, 200, 1514],
        ..FrameSpec::default()
    };
    let peer = Box::new(Traffic::new(Generator::new(&spec), sink));
    let device = E82576::new(Options {
        mac,
        peer,
        domain: domain.clone(),
        mode: Mode::Sync,
    });
    let address = format!("0000:0{index}:00.0").parse().unwrap();
    let function = LocalFunction::new(device.clone(), address, domain.clone());
    (Igb::open(Arc::new(function)).unwrap(), device)
}

#[test]
fn frames_pass_both_ways_and_every_buffer_comes_home() {
    let domain = Arc::new(LocalDomain::new());
    let sinks = [Sink::new(), Sink::new()];
    let (mut a, model_a) = port(&domain, 1, &sinks[0]);
    let (mut b, model_b) = port(&domain, 2, &sinks[1]);
    let pool = Pool::builder().packets(4096).build().unwrap();
    let mut qa = a.start(&PortConfig::new(&pool)).unwrap();
    let mut qb = b.start(&PortConfig::new(&pool)).unwrap();
    assert!(a.link().up && b.link().up);
    let mut cache = pool.cache();
    let mut batch = Batch::with_burst(32);
    for _ in 0..FRAMES {
        qa.rx[0].receive(&mut cache, &mut batch);
        qb.tx[0].transmit(&mut cache, &mut batch);
        assert!(batch.is_empty());
        qb.rx[0].receive(&mut cache, &mut batch);
        qa.tx[0].transmit(&mut cache, &mut batch);
        assert!(batch.is_empty());
    }
    assert_eq!(sinks.each_ref().map(Sink::frames), [FRAMES; 2]);
    a.stop(qa).unwrap();
    b.stop(qb).unwrap();
    drop(cache);
    assert_eq!(pool.available(), pool.packets());
    assert_eq!(domain.take_faults(), []);
    drop((a, b, pool));
    assert_eq!(domain.mapped(), 0);
    for model in [model_a, model_b] {
        model.model(|m| assert!(m.misuses().is_empty() && m.unknown_registers().is_empty()));
    }
}
