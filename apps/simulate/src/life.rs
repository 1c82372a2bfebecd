//! One start, traffic, one stop; and the accounts between.

mod accounts;

use crate::lane::Lane;
use crate::plan::{End, Plan};
use crate::world::World;
use anyhow::{Result, bail, ensure};
use barline::pool::{Batch, PoolCache};
use barline::port::{Change, Port, Queues};
use barline::wait::Armed;
use barline_sim::Ledger;
use std::time::Duration;

/// Rounds without news after which nothing more is to come: longer than anything is put off.
const QUIET: u32 = 120;
/// Virtual time of a round without news.
const IDLE: Duration = Duration::from_micros(20);

/// Longest sleep, in rounds without news.
const BOUND: u32 = 50;

/// A life of all ports.
#[derive(Debug)]
pub struct Life<'a> {
    plan: &'a Plan,
    world: &'a World,
    /// What the devices had done before, and when all had started.
    before: Vec<Ledger>,
    started: Vec<Ledger>,
    /// Whether it was stopped with work under way.
    cut: bool,
    /// How often the world went on.
    round: u32,
}

impl<'a> Life<'a> {
    /// A life that begins now.
    pub fn new(plan: &'a Plan, world: &'a World) -> Self {
        for station in &world.stations {
            station.mtu.set(station.plan.mtu);
        }
        Self {
            plan,
            world,
            before: ledgers(world),
            started: Vec::new(),
            cut: false,
            round: 0,
        }
    }

    /// Starts the ports; `None` where a planned fault kept one from starting: those that did are stopped again.
    pub fn start(&self, ports: &mut [Box<dyn Port>]) -> Result<Option<Vec<Queues>>> {
        let mut started = Vec::new();
        for (port, station) in ports.iter_mut().zip(&self.world.stations) {
            let config = self.world.config(self.plan, &station.plan);
            match self.world.bounded("start", || port.start(&config))? {
                Ok(queues) => started.push(queues),
                Err(_) if station.plan.may_fail() => break,
                Err(error) => bail!("port {} does not start: {error}", started.len()),
            }
            if self.plan.step.is_some() {
                station.device.hold();
            }
        }
        if started.len() == ports.len() {
            return Ok(Some(started));
        }
        for (at, queues) in started.into_iter().enumerate() {
            self.stop(&mut *ports[at], queues, at)?;
        }
        Ok(None)
    }

    fn stop(&self, port: &mut dyn Port, queues: Queues, at: usize) -> Result<()> {
        let station = &self.world.stations[at];
        match self.world.bounded("stop", || port.stop(queues))? {
            Err(error) if !station.plan.may_fail() => bail!("port {at} does not stop: {error}"),
            _ => Ok(()),
        }
    }

    /// The lanes that l2fwd makes of the queues.
    fn lanes(&self, queues: Vec<Queues>, ports: &[Box<dyn Port>]) -> Vec<Lane> {
        let (mut rx, mut tx): (Vec<_>, Vec<_>) = queues
            .into_iter()
            .map(|queues| (queues.rx.into_iter(), queues.tx.into_iter()))
            .unzip();
        let mut lanes = Vec::new();
        for queue in 0..usize::from(self.plan.queues) {
            for from in 0..ports.len() {
                let to = self.plan.partner(from);
                if let (Some(rx), Some(tx)) = (rx[from].next(), tx[to].next()) {
                    let oracle = self.world.stations[from].device.oracle(queue);
                    lanes.push(Lane::new((rx, tx), (from, to), queue, ports[to].mac(), oracle));
                }
            }
        }
        lanes
    }

    /// Traffic until there is none or the plan's end; then the accounts, and the stop.
    pub fn run(mut self, ports: &mut Vec<Box<dyn Port>>, queues: Vec<Queues>) -> Result<()> {
        self.started = ledgers(self.world);
        let mut lanes = self.lanes(queues, ports);
        ensure!(
            lanes.len() == ports.len() * usize::from(self.plan.queues),
            "queues are missing"
        );
        let mut cache = self.world.pool.cache();
        self.traffic(&mut lanes, ports, &mut cache)?;
        for (at, station) in self.world.stations.iter().enumerate() {
            self.check_received(at, station, &lanes)?;
            self.check_sent(at, station, &lanes)?;
            self.check_device_counters(at, station, &mut *ports[at])?;
        }
        self.check_complete(&lanes)?;
        self.end(ports, lanes, cache)
    }

    fn traffic(
        &mut self,
        lanes: &mut [Lane],
        ports: &mut [Box<dyn Port>],
        cache: &mut PoolCache,
    ) -> Result<()> {
        let mut batch = Batch::with_burst(self.plan.burst);
        let (mut quiet, mut last) = (0, None);
        while quiet < QUIET {
            if self.round >= self.plan.rounds {
                self.cut = true;
                return Ok(());
            }
            self.change(ports);
            let before: u64 = lanes.iter().map(|lane| lane.tally.received).sum();
            for lane in &mut *lanes {
                lane.burst(self.world, cache, &mut batch)?;
            }
            let idle = before == lanes.iter().map(|lane| lane.tally.received).sum::<u64>();
            self.tick(if quiet > 0 { IDLE } else { self.plan.round });
            if idle && self.plan.sleeps {
                self.sleep(lanes)?;
            }
            let news = self.news(lanes);
            let same = last.as_ref() == Some(&news);
            quiet = if same { quiet + 1 } else { 0 };
            last = Some(news);
        }
        Ok(())
    }

    /// The world goes on: frames come, time passes, devices work.
    fn tick(&mut self, time: Duration) {
        for station in &self.world.stations {
            let all = station.plan.frames / u64::from(self.plan.lives);
            let so_far = station.plan.rate * u64::from(self.round);
            station
                .tap
                .open(station.plan.rate.min(all.saturating_sub(so_far)));
        }
        self.world.clock.pass(time);
        for station in &self.world.stations {
            match self.plan.step {
                Some(frames) => station.device.step(frames),
                None => station.device.kick(),
            }
        }
        self.round += 1;
    }

    /// Sleeps as an idle core does: arms every lane, looks again, and waits for an interrupt or for the bound.
    fn sleep(&mut self, lanes: &mut [Lane]) -> Result<()> {
        let armed: Vec<Armed> = lanes.iter_mut().map(|lane| lane.rx.arm()).collect();
        let mut woken = armed.contains(&Armed::Pending);
        for _ in 0..BOUND {
            if woken {
                break;
            }
            self.tick(IDLE);
            woken = lanes.iter().any(Lane::is_woken);
        }
        for (lane, armed) in lanes.iter_mut().zip(armed) {
            let missed = !woken && armed == Armed::Wakes && lane.has_news(self.world);
            lane.rx.disarm();
            let (at, queue) = (lane.from, lane.queue);
            ensure!(
                !missed,
                "port {at} queue {queue}: a frame came and no interrupt did"
            );
        }
        Ok(())
    }

    /// Everything that moves when a frame does.
    fn news(&self, lanes: &[Lane]) -> Vec<u64> {
        let devices = self.world.stations.iter().map(|station| station.device.ledger());
        let devices = devices.flat_map(|ledger| [ledger.arrived, ledger.sent, ledger.inside()]);
        let lanes = lanes.iter();
        devices
            .chain(lanes.flat_map(|lane| [lane.tally.received, lane.tx.in_flight() as u64]))
            .collect()
    }

    /// What the plan changes before this round. A refusal, or a device that is gone, changes nothing.
    fn change(&self, ports: &mut [Box<dyn Port>]) {
        for (port, station) in ports.iter_mut().zip(&self.world.stations) {
            for (_, change) in station.plan.changes.iter().filter(|(at, _)| *at == self.round) {
                if let (Ok(()), Change::Mtu(mtu)) = (port.set(change.clone()), change) {
                    station.mtu.set(*mtu);
                }
                port.link();
            }
        }
    }

    fn end(&self, ports: &mut Vec<Box<dyn Port>>, lanes: Vec<Lane>, cache: PoolCache) -> Result<()> {
        let mut lanes = lanes;
        if self.plan.end == End::PortsFirst {
            self.world.bounded("drop", || ports.clear())?;
            self.world.check_devices(true)?;
            self.after_the_end(&mut lanes, cache);
            return Ok(());
        }
        drop(cache);
        if self.plan.end == End::QueuesFirst {
            drop(lanes);
            for (at, port) in ports.iter_mut().enumerate() {
                self.stop(port.as_mut(), Queues::default(), at)?;
            }
        } else {
            let mut queues: Vec<Queues> = ports.iter().map(|_| Queues::default()).collect();
            for lane in lanes {
                queues[lane.from].rx.push(lane.rx);
                queues[lane.to].tx.push(lane.tx);
            }
            for (at, queues) in queues.into_iter().enumerate() {
                self.stop(ports[at].as_mut(), queues, at)?;
            }
        }
        self.world.check_devices(true)?;
        let (there, all) = (self.world.pool.available(), self.world.pool.packets());
        ensure!(
            there == all,
            "{} of {all} packets are missing after the stop",
            all - there
        );
        Ok(())
    }

    /// Queues whose port is gone do no harm.
    fn after_the_end(&self, lanes: &mut [Lane], mut cache: PoolCache) {
        let mut batch = Batch::with_burst(self.plan.burst);
        for lane in lanes {
            for _ in 0..3 {
                lane.rx.receive(&mut cache, &mut batch);
                lane.tx.transmit(&mut cache, &mut batch);
                lane.tx.reclaim(&mut cache);
                cache.free(&mut batch);
            }
        }
    }
}

fn ledgers(world: &World) -> Vec<Ledger> {
    let devices = world.stations.iter().map(|station| &station.device);
    devices.map(|device| device.ledger()).collect()
}
