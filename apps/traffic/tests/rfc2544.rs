//! A device with a known ceiling and buffer, on a clock of its own: what is found is what it is.

use barline::pool::{Pool, PoolCache};
use barline::port::{Port, PortConfig, Queues};
use barline_null::Loopback;
use barline_sim::Clock as Time;
use barline_traffic::rfc2544::{Bench, Load, Outcome, Plan, Report, Search, Test, run};
use barline_traffic::{
    Analyser, Clock, Cost, Generator, Pacer, Rate, Receiver, Sender, Shape, Snapshot, Stream, StreamConfig,
};
use barline_wrap::{Impair, Impairment, Wrapped};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Mbit/s of the line in front of the device.
const LINE: u32 = 10_000;
const CEILING: f64 = 3.7e6;
const BUFFER: u32 = 512;
/// What the device takes for a frame besides, in nanoseconds.
const DELAY: u64 = 20_000;

struct Device {
    time: Arc<Time>,
    clock: Clock,
    pool: Pool,
    cache: PoolCache,
    port: Wrapped,
    queues: Option<Queues>,
    trials: u32,
}

impl Device {
    fn new(seed: u64) -> Self {
        let time = Time::virtual_until(Duration::from_secs(100_000));
        let how = Impairment {
            rate: CEILING,
            buffer: BUFFER,
            delay: Duration::from_nanos(DELAY),
            seed,
            ..Impairment::default()
        };
        let pool = Pool::builder().packets(4096).build().unwrap();
        let impair = Impair::with_clock(how, time.clone());
        let mut port = Wrapped::new(Box::new(Loopback::new()), Box::new(impair));
        let queues = port.start(&PortConfig::new(&pool)).unwrap();
        // No trial begins at a round number.
        time.pass(Duration::from_nanos(seed * 7919 + 13));
        Self {
            time,
            clock: Clock::made(),
            cache: pool.cache(),
            pool,
            port,
            queues: Some(queues),
            trials: 0,
        }
    }

    fn now(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    /// Lets time pass until `then` and moves what is due.
    fn until(&mut self, then: u64, receiver: &mut Receiver) {
        let left = then.saturating_sub(self.now());
        self.time.pass(Duration::from_nanos(left));
        self.clock.set(self.now());
        let queues = self.queues.as_mut().unwrap();
        queues.tx[0].reclaim(&mut self.cache);
        let clock = self.clock.clone();
        while receiver.poll(&mut *queues.rx[0], &mut self.cache, || clock.now()) > 0 {}
    }
}

fn stream(size: usize) -> Stream {
    StreamConfig::from_toml(&format!("size = '{size}'"))
        .unwrap()
        .compile()
        .unwrap()
}

impl Bench for Device {
    type Error = Infallible;

    fn line(&mut self, size: usize) -> f64 {
        Rate::most(LINE, size as f64)
    }

    fn trial(&mut self, size: usize, load: Load) -> Result<Outcome, Infallible> {
        self.trials += 1;
        let (rate, count) = match load {
            Load::Rate { pps, seconds } => (Rate::Packets(pps), (pps * seconds) as u64),
            Load::Burst(count) => (Rate::Max, count),
        };
        let cost: Cost = rate.cost(LINE, size as f64).unwrap();
        let stream = stream(size);
        let places = [stream.mark.unwrap()];
        let generator = Generator::new(&[stream], 0, 0, 1).unwrap();
        let begin = self.now();
        let mut sender = Sender::new(generator, Pacer::new(Shape::Even, cost, begin), 1);
        let mut receiver = Receiver::new(Analyser::new(1, &places, Some(0)), 64);
        sender.limit(Some(count));
        while !sender.is_done() {
            let due = sender.pacer.due() + 1;
            self.until(due, &mut receiver);
            let now = self.now();
            sender.poll(&mut *self.queues.as_mut().unwrap().tx[0], &mut self.cache, now);
        }
        let seconds = (self.now() - begin) as f64 / 1e9;
        // Settle: a full buffer and the delay, in small steps.
        for _ in 0..400 {
            let then = self.now() + 1000;
            self.until(then, &mut receiver);
        }
        let mut came = Snapshot::default();
        receiver.analyser.snapshot(&mut came);
        let flow = came.flows[0].clone().unwrap_or_default();
        assert_eq!((came.foreign, came.damaged, flow.order.duplicates), (0, 0, 0));
        Ok(Outcome {
            sent: sender.made(),
            received: flow.order.unique,
            seconds,
            latency_ns: flow.latency.summary(),
            behind: false,
        })
    }
}

/// The longest burst at the line's rate that the buffer holds, step by step from the definition of the device.
fn right_burst(size: usize) -> u64 {
    let gap = (size as f64 + 20.0) * 8.0 / 10.0;
    let mut departures = std::collections::VecDeque::new();
    let mut finish = 0.0f64;
    for frame in 0..1_000_000u64 {
        let now = (frame as f64 * gap).floor() + 1.0;
        while departures.front().is_some_and(|at| *at <= now) {
            departures.pop_front();
        }
        if departures.len() >= BUFFER as usize {
            return frame;
        }
        finish = finish.max(now) + 1e9 / CEILING;
        departures.push_back(finish);
    }
    1_000_000
}

fn plan(tests: &[Test], search: Search) -> Plan {
    Plan {
        tests: tests.to_vec(),
        sizes: vec![64],
        seconds: 0.25,
        width: 0.002,
        search,
        loss: 0.005,
        burst_seconds: 0.001,
    }
}

#[test]
fn throughput_is_found_within_half_a_per_cent_and_the_burst_exactly_five_times_of_five() {
    let right = right_burst(64);
    for seed in 1..=5 {
        let search = if seed % 2 == 0 {
            Search::Mlr
        } else {
            Search::Binary
        };
        let mut device = Device::new(seed);
        let mut report = Report::default();
        let plan = plan(&[Test::Throughput, Test::Latency, Test::BackToBack], search);
        run(&mut device, &plan, &mut report, &mut |_| ()).unwrap();
        let of = &report.sizes[0];
        let ndr = of.ndr.unwrap().pps;
        assert!((ndr / CEILING - 1.0).abs() < 0.005, "seed {seed}: {ndr}");
        if let Some(pdr) = of.pdr {
            let right = CEILING / 0.995;
            assert!((pdr.pps / right - 1.0).abs() < 0.005, "seed {seed}: {}", pdr.pps);
        }
        assert_eq!(of.back_to_back, Some(right), "seed {seed}");
        // At half the throughput nothing waits: the service of one frame and the delay.
        let half = of.latency[1].ns;
        let service = 1e9 / CEILING;
        assert!((half.mean - (DELAY as f64 + service)).abs() < 600.0, "{half:?}");
        assert_eq!(of.latency.len(), 2);
        // Everything has come back.
        let Device {
            mut port,
            queues,
            cache,
            pool,
            ..
        } = device;
        port.stop(queues.unwrap()).unwrap();
        drop(cache);
        assert_eq!(pool.available(), 4096);
    }
}

#[test]
fn frame_loss_is_what_the_ceiling_leaves() {
    let mut device = Device::new(9);
    let mut report = Report::default();
    let mut told = 0;
    run(
        &mut device,
        &plan(&[Test::FrameLoss], Search::Binary),
        &mut report,
        &mut |_| told += 1,
    )
    .unwrap();
    let losses = &report.sizes[0].frame_loss;
    assert_eq!(told, losses.len());
    for one in losses {
        let sent = one.pps * 0.25;
        let right = (1.0 - (CEILING * 0.25 + f64::from(BUFFER)) / sent).max(0.0);
        assert!((one.loss - right).abs() < 0.001, "{one:?}, {right}");
    }
    // 20 and 10 per cent lose nothing.
    assert_eq!(losses.last().unwrap().percent, 10);
}
