use crate::forward::{self, Lane};
use crate::report::Counts;
use crate::{Account, Failure, PortReport, Settings};
use barline::bus::vfio::VfioFunction;
use barline::mem::{PageSize, Plan, Source, free_huge_pages};
use barline::pool::{Pool, PoolBuilder};
use barline::port::{LinkRequest, PortConfig, Queues};
use barline::telemetry::{Cell, RxCounters, TxCounters};
use barline::worker::Worker;
use barline_drivers::{Opened, Opener};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ports that forward to each other, from start to stop. Dropping it stops the workers and the devices.
#[derive(Debug)]
pub struct Forwarder {
    // Declared first: workers end before the ports whose queues they have go.
    workers: Vec<Worker<Vec<Lane>>>,
    members: Vec<Member>,
    opener: Opener,
    pool: Pool,
    started: Instant,
}

/// A port, and its queues' counters, which stay here when the queues go to their cores.
#[derive(Debug)]
struct Member {
    opened: Opened,
    rx: Vec<Arc<CachePadded<RxCounters>>>,
    tx: Vec<Arc<CachePadded<TxCounters>>>,
    full: Vec<Arc<CachePadded<Cell>>>,
}

/// Bytes of a descriptor that a driver needs at most.
const DESCRIPTOR: usize = 16;
/// Packets that a worker's cache can hold.
const CACHE: usize = 512;

impl Forwarder {
    /// Opens the ports, checks that the machine has what they need, and starts a worker a core.
    ///
    /// # Errors
    /// The first thing that is wrong or missing. Nothing stays open or allocated.
    pub fn start(settings: &Settings) -> Result<Self, Failure> {
        Self::start_with(settings, Vec::new())
    }

    /// Like [`Forwarder::start`], with devices that are open already, for the ports of their addresses.
    ///
    /// # Errors
    /// As [`Forwarder::start`].
    pub fn start_with(settings: &Settings, devices: Vec<VfioFunction>) -> Result<Self, Failure> {
        let mut opener = Opener::new(settings.feed.clone());
        opener.adopt(devices);
        let opened: Result<Vec<Opened>, _> = settings.ports.iter().map(|spec| opener.open(spec)).collect();
        let (opened, shape) = (opened?, shape(settings));
        opened.iter().try_for_each(|opened| fits(settings, opened))?;
        opener.check(&plan(settings, &shape))?;
        let pool = shape.build()?;
        let mut members: Vec<Member> = opened.into_iter().map(Member::new).collect();
        let config = config(settings, &pool);
        let mut queues = Vec::new();
        for member in &mut members {
            queues.push(member.start(&config)?);
        }
        let workers = spawn(settings, lanes(settings, queues, &members)?, &pool)?;
        Ok(Self {
            workers,
            members,
            opener,
            pool,
            started: Instant::now(),
        })
    }

    /// Whether all links are up.
    pub fn links_up(&self) -> bool {
        self.members.iter().all(|member| member.opened.port.link().up)
    }

    /// Whether nothing more will come in: all ports are simulated, and their feed has come to its end.
    pub fn is_dry(&self) -> bool {
        self.opener.is_dry()
    }

    /// Packets received so far: cheaper than a whole account.
    pub fn received(&self) -> u64 {
        let queues = self.members.iter().flat_map(|member| &member.rx);
        queues.map(|rx| rx.rx_packets.get()).sum()
    }

    /// Whether a worker has ended by itself, which none does unless it failed.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(Worker::is_finished)
    }

    /// How to get huge pages, when there were too few and 4 KiB ones were taken in their place.
    pub fn advice(&self, settings: &Settings) -> Option<String> {
        let small = self.pool.memory().page_size() == PageSize::Base4K;
        if !small || settings.huge.pool != Source::Auto {
            return None;
        }
        let pages = free_huge_pages(PageSize::Huge2M);
        let bytes = self.pool.memory().len().div_ceil(PageSize::Huge2M.bytes());
        let want = (bytes + self.members.len() + pages.total).saturating_sub(pages.free);
        Some(format!(
            "running on 4 KiB pages; huge pages are faster: echo {want} | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
        ))
    }

    /// Where every packet is now.
    pub fn account(&mut self) -> Account {
        let mut account = self.read();
        // A worker may count between two of our reads; what it has in hand is the rest.
        account.received = account.received.max(account.sent + account.dropped());
        account.held = account.received - account.sent - account.dropped();
        account
    }

    /// What the counters say; held is left open.
    fn read(&mut self) -> Account {
        // Sent before received: a packet on its way is seen as held, not as sent out of nowhere.
        let mut account = Account::default();
        for member in &self.members {
            account.sent += member.tx.iter().map(|tx| tx.tx_packets.get()).sum::<u64>();
            for (reason, packets) in member.dropped() {
                *account.dropped.entry(reason).or_default() += packets;
            }
        }
        account.received = self.received();
        account.seconds = self.started.elapsed().as_secs_f64();
        account.ports = self.members.iter_mut().map(Member::report).collect();
        account
    }

    /// Stops the workers, lets the devices send what they have, stops these too, and closes the account.
    ///
    /// # Errors
    /// Beside the account: a worker or a port that failed, an account that does not balance, or packets that did not
    /// come back to the pool.
    pub fn stop(mut self) -> (Account, Result<(), Failure>) {
        let mut result = Ok(());
        let mut lanes = Vec::new();
        self.workers.iter().for_each(Worker::stop);
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(back) => lanes.extend(back),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        let mut account = self.read();
        account.held = lanes.iter().map(|lane| lane.tx.in_flight() as u64).sum();
        account.sent -= account.held.min(account.sent);
        for (member, queues) in self.members.iter_mut().zip(gather(lanes, account.ports.len())) {
            let stopped = member.opened.port.stop(queues).map_err(Failure::from);
            result = result.and(stopped);
        }
        let result = result.and_then(|()| self.check(&account));
        (account, result)
    }

    fn check(&self, account: &Account) -> Result<(), Failure> {
        if !account.balances() {
            let (received, sent, dropped, held) =
                (account.received, account.sent, account.dropped(), account.held);
            return Err(Failure::run(format!(
                "the account does not balance: received {received}, sent {sent}, dropped {dropped}, held {held}"
            )));
        }
        match self.pool.packets() - self.pool.available() {
            0 => Ok(()),
            leaked => Err(Failure::run(format!("{leaked} packets leaked"))),
        }
    }
}

impl Member {
    fn new(opened: Opened) -> Self {
        Self {
            opened,
            rx: Vec::new(),
            tx: Vec::new(),
            full: Vec::new(),
        }
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, Failure> {
        let (port, name) = (&mut self.opened.port, self.opened.spec.to_string());
        let queues = port.start(config).map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(failure.fault(), format!("{name}: {failure}"))
        })?;
        self.rx = queues.rx.iter().map(|rx| rx.shared_counters()).collect();
        self.tx = queues.tx.iter().map(|tx| tx.shared_counters()).collect();
        self.full = self.tx.iter().map(|_| Arc::default()).collect();
        Ok(queues)
    }

    /// Packets for this port to send that were dropped, by reason.
    fn dropped(&self) -> Counts {
        let sum = |of: fn(&TxCounters) -> u64| self.tx.iter().map(|tx| of(tx)).sum();
        Counts::from([
            ("tx_full", self.full.iter().map(|full| full.get()).sum()),
            ("tx_lengths", sum(|tx| tx.tx_lengths.get())),
            ("tx_unmapped", sum(|tx| tx.tx_unmapped.get())),
        ])
    }

    fn report(&mut self) -> PortReport {
        let dropped = self.dropped();
        let (mut queues, mut device) = (Counts::new(), Counts::new());
        let mut add = |name, value| *queues.entry(name).or_default() += value;
        self.rx.iter().for_each(|rx| rx.each(&mut add));
        self.tx.iter().for_each(|tx| tx.each(&mut add));
        // Calls that met a full ring there, packets here: one name must not mean both.
        queues.remove("tx_full");
        self.opened.port.counters(&mut |name, value| {
            device.insert(name, value);
        });
        let link = self.opened.port.link();
        PortReport {
            port: self.opened.spec.to_string(),
            mac: self.opened.port.mac().to_string(),
            link: if link.up { link.speed } else { 0 },
            queues,
            dropped,
            device,
        }
    }
}

/// Sizes that no pool could be made for are refused before one is tried; the port itself checks the rest.
fn fits(settings: &Settings, opened: &Opened) -> Result<(), Failure> {
    let caps = opened.port.caps();
    let (least, most) = caps.ring;
    for (name, value, least, most) in [
        ("rx-ring", settings.rx_ring, least, most),
        ("tx-ring", settings.tx_ring, least, most),
        ("mtu", settings.mtu, 68, caps.mtu),
    ] {
        if !(least..=most).contains(&value) {
            let port = &opened.spec;
            return Err(Failure::usage(format!(
                "--{name} {value}: {port} takes {least} to {most}"
            )));
        }
    }
    Ok(())
}

/// Enough packets that no ring ever starves: all rings full, all caches full, a burst in every worker's hands.
fn shape(settings: &Settings) -> PoolBuilder {
    let rings = settings.rx_ring as usize + settings.tx_ring as usize;
    let rings = rings * usize::from(settings.queues) * settings.ports.len();
    let hands = (CACHE + settings.burst) * settings.workers.len();
    // Header and a VLAN tag; NICs count buffers in KiB.
    let room = (settings.mtu as usize + 18).next_multiple_of(1024).max(2048);
    Pool::builder()
        .packets(rings + hands)
        .data_room(room)
        .source(settings.huge.pool)
}

fn plan(settings: &Settings, shape: &PoolBuilder) -> Plan {
    let rings = settings.rx_ring as usize + settings.tx_ring as usize;
    let bytes = rings * usize::from(settings.queues) * DESCRIPTOR;
    let plan = Plan::new().with(shape.bytes(), settings.huge.pool);
    settings
        .ports
        .iter()
        .fold(plan, |plan, _| plan.with(bytes, settings.huge.rings))
}

fn config(settings: &Settings, pool: &Pool) -> PortConfig {
    PortConfig {
        rx_queues: settings.queues,
        tx_queues: settings.queues,
        rx_ring: settings.rx_ring,
        tx_ring: settings.tx_ring,
        mtu: settings.mtu,
        promiscuous: settings.promiscuous,
        // All links come up at once, and a signal can end the wait.
        link: LinkRequest::DoNotWait,
        ring_memory: settings.huge.rings,
        ..PortConfig::new(pool)
    }
}

/// Pairs each receive queue with the transmit queue of the same index on the partner port.
fn lanes(settings: &Settings, queues: Vec<Queues>, members: &[Member]) -> Result<Vec<Lane>, Failure> {
    let (rx, tx): (Vec<_>, Vec<_>) = queues.into_iter().map(|queues| (queues.rx, queues.tx)).unzip();
    let mut rx: Vec<_> = rx.into_iter().map(Vec::into_iter).collect();
    let mut tx: Vec<_> = tx.into_iter().map(Vec::into_iter).collect();
    let mut lanes = Vec::new();
    for queue in 0..usize::from(settings.queues) {
        for (from, rx) in rx.iter_mut().enumerate() {
            let to = settings.partner(from);
            let (Some(rx), Some(tx)) = (rx.next(), tx[to].next()) else {
                return Err(Failure::run("a port has fewer queues than it was started with"));
            };
            let mac = members[to].opened.port.mac();
            lanes.push(Lane {
                rx,
                tx,
                header: settings.mac_update.then(|| forward::header(to as u8, mac)),
                full: members[to].full[queue].clone(),
                from,
                to,
                queue,
            });
        }
    }
    Ok(lanes)
}

fn spawn(settings: &Settings, lanes: Vec<Lane>, pool: &Pool) -> Result<Vec<Worker<Vec<Lane>>>, Failure> {
    let mut shares: Vec<Vec<Lane>> = settings.workers.iter().map(|_| Vec::new()).collect();
    let most = shares.len();
    for lane in lanes {
        shares[lane.queue % most].push(lane);
    }
    let mut workers = Vec::new();
    for (index, (core, lanes)) in settings.workers.iter().zip(shares).enumerate() {
        let (pool, burst) = (pool.clone(), settings.burst);
        let run = move |stop: &_| forward::forward(stop, lanes, &pool, burst);
        workers.push(Worker::spawn(*core, &format!("l2fwd-{index}"), run)?);
    }
    Ok(workers)
}

/// Gives every port its queues back, in order.
fn gather(mut lanes: Vec<Lane>, ports: usize) -> Vec<Queues> {
    let mut queues: Vec<Queues> = (0..ports).map(|_| Queues::default()).collect();
    lanes.sort_by_key(|lane| lane.queue);
    for lane in lanes {
        queues[lane.from].rx.push(lane.rx);
        queues[lane.to].tx.push(lane.tx);
    }
    queues
}

/// Longest wait for the links at the start.
pub const LINK_WAIT: Duration = Duration::from_secs(5);
