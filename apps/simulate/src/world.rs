//! What a plan builds: devices, their ports, a pool, a clock.

use crate::feed::{Feed, Tap};
use crate::plan::{AMPLE, Plan, PortPlan};
use crate::subject::{Device, Parts, mac};
use anyhow::{Context, Result, bail, ensure};
use barline::mem::{LocalDomain, PageSize, Source};
use barline::pool::Pool;
use barline::port::{LinkRequest, Port, PortConfig};
use barline_drivers::driver_for;
use barline_sim::{Clock, Impaired, Sink, Traffic};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Longest virtual time of a whole plan: more is a hang.
const HANG: Duration = Duration::from_secs(120);
/// Longest virtual time of a call.
const CALL: Duration = Duration::from_secs(10);
/// More than a plan can send.
const KEPT: usize = 4096;

/// The ports, by number.
pub type Ports = Vec<Box<dyn Port>>;

/// One port's device, and both ends of its cable.
#[derive(Debug)]
pub struct Station {
    /// The device side.
    pub device: Arc<dyn Device>,
    /// What the port has sent.
    pub sink: Sink,
    /// What comes in.
    pub tap: Tap,
    /// The plan's part.
    pub plan: PortPlan,
    /// The port's MTU as it was set last.
    pub mtu: Cell<u32>,
}

/// Everything but the ports.
#[derive(Debug)]
pub struct World {
    /// The devices, by port.
    pub stations: Vec<Station>,
    /// Everybody's time.
    pub clock: Arc<Clock>,
    /// The memory that devices reach.
    pub domain: Arc<LocalDomain>,
    /// All packets.
    pub pool: Pool,
}

impl World {
    /// Builds the devices and opens their ports; `None` where a planned fault kept one from opening.
    pub fn new(plan: &Plan) -> Result<(Self, Option<Ports>)> {
        let mut world = Self {
            stations: Vec::new(),
            clock: Clock::virtual_until(HANG),
            domain: Arc::new(LocalDomain::new()),
            pool: pool(plan.packets)?,
        };
        let mut ports = Some(Vec::new());
        for (index, port) in plan.ports.iter().enumerate() {
            let opened = world.open(plan, index as u8, port)?;
            ports = ports.zip(opened).map(|(mut ports, port)| {
                ports.push(port);
                ports
            });
        }
        Ok((world, ports))
    }

    fn open(&mut self, plan: &Plan, index: u8, port: &PortPlan) -> Result<Option<Box<dyn Port>>> {
        let sink = Sink::keeping(KEPT);
        let (feed, tap) = Feed::new(port, mac(index), plan.seed.wrapping_add(u64::from(index)));
        let traffic = Traffic::new(feed, &sink);
        let traffic = if port.patient {
            traffic
        } else {
            traffic.impatient()
        };
        let (function, device) = (port.subject().build)(Parts {
            index,
            peer: Box::new(Impaired::new(traffic, port.impairment).0),
            domain: self.domain.clone(),
            clock: self.clock.clone(),
            faults: port.faults.clone(),
        });
        device.set_link(port.link);
        self.stations.push(Station {
            device,
            sink,
            tap,
            plan: port.clone(),
            mtu: Cell::new(port.mtu),
        });
        let Some(driver) = driver_for(function.id()) else {
            ensure!(port.may_fail(), "no driver for {}", function.id());
            return Ok(None);
        };
        ensure!(
            driver.name == port.subject().driver,
            "{} is not the driver",
            driver.name
        );
        let opened = self.bounded("open", || (driver.open)(function, port.subject().options))?;
        match opened {
            Ok(port) => Ok(Some(port)),
            Err(_) if port.may_fail() => Ok(None),
            Err(error) => bail!("port {index} does not open: {error}"),
        }
    }

    /// Calls what must not take long, whatever the device does.
    pub fn bounded<T>(&self, what: &str, call: impl FnOnce() -> T) -> Result<T> {
        let begin = self.clock.elapsed();
        let result = call();
        let took = self.clock.elapsed() - begin;
        ensure!(took <= CALL, "{what} took {took:?} of virtual time");
        Ok(result)
    }

    /// How a port is started.
    pub fn config(&self, plan: &Plan, port: &PortPlan) -> PortConfig {
        PortConfig {
            rx_queues: plan.queues,
            tx_queues: plan.queues,
            rx_ring: plan.rings.0,
            tx_ring: plan.rings.1,
            mtu: port.mtu,
            promiscuous: port.promiscuous,
            link: if port.frames.is_multiple_of(2) {
                LinkRequest::DoNotWait
            } else {
                LinkRequest::WaitMillis(20)
            },
            ring_memory: Source::MemFd(PageSize::Base4K),
            ..PortConfig::new(&self.pool)
        }
    }

    /// Nothing that a device does is out of bounds, now and when it is pushed; `quiet`: it does nothing at all.
    pub fn check_devices(&self, quiet: bool) -> Result<()> {
        let mixed = self.stations.iter().any(|station| station.plan.mixes());
        for (index, station) in self.stations.iter().enumerate() {
            let device = &station.device;
            let before = device.counts();
            device.kick();
            device.step(8);
            let after = device.counts();
            let moved = (after.dma_reads, after.dma_writes) != (before.dma_reads, before.dma_writes);
            ensure!(
                !quiet || !moved && !device.is_master(),
                "device {index} reaches memory after its stop"
            );
            let strays = station.plan.strays();
            // A device that wrote over its own descriptors goes where they point now, and the IOMMU stops it.
            let faults = if strays {
                after.dma_without_master
            } else {
                after.dma_faults
            };
            ensure!(faults == 0, "device {index}: {after:?}");
            let complaints = device.complaints(&station.plan, mixed);
            ensure!(complaints.is_empty(), "device {index}: {}", complaints.join("; "));
        }
        let (faults, strays) = (self.domain.take_faults(), |station: &Station| {
            station.plan.strays()
        });
        let excused = self.stations.iter().any(strays);
        ensure!(excused || faults.is_empty(), "DMA outside mappings: {faults:?}");
        Ok(())
    }

    /// The end: every packet home, nothing mapped.
    pub fn close(self) -> Result<()> {
        self.check_devices(true)?;
        let (there, all) = (self.pool.available(), self.pool.packets());
        ensure!(there == all, "{} of {all} packets are missing", all - there);
        let mapped = self.domain.mapped();
        ensure!(mapped == 0, "{mapped} mappings are left");
        if all == AMPLE {
            SPARE.set(Some(self.pool));
        }
        Ok(())
    }
}

thread_local! {
    /// A pool of [`AMPLE`] packets that a plan before this one has left whole: to make one takes longer than a plan.
    static SPARE: Cell<Option<Pool>> = const { Cell::new(None) };
}

fn pool(packets: usize) -> Result<Pool> {
    if let Some(pool) = SPARE.take().filter(|_| packets == AMPLE) {
        return Ok(pool);
    }
    let pool = Pool::builder()
        .packets(packets)
        .source(Source::MemFd(PageSize::Base4K));
    pool.build().context("memory for a pool")
}
