use crate::report::{Account, FlowReport, PortReport};
use crate::settings::{Settings, wrong};
use crate::work::{self, Board, Lane, Mail, Order, Shown};
use barline::mem::Plan;
use barline::pool::{Pool, PoolBuilder};
use barline::port::{LinkRequest, PortConfig, Queues};
use barline::telemetry::{RxCounters, TxCounters};
use barline::worker::{Mailbox, StopToken, Worker};
use barline_app::Failure;
use barline_drivers::{Feed, Opened, Opener};
use barline_traffic::{
    Analyser, Buckets, Clock, Cost, FlowState, Generator, Pacer, Rate, Receiver, Sender, Snapshot, Stream,
};
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports that send to each other or through something, from start to stop. Dropping it stops workers and devices.
#[derive(Debug)]
pub struct Rig {
    // Declared first: workers end before the ports whose queues they have go.
    workers: Vec<Worker<Vec<Lane>>>,
    mailboxes: Vec<Mailbox<Mail>>,
    lanes: Vec<Seat>,
    members: Vec<Member>,
    pool: Pool,
    settings: Settings,
    /// Flows of packets that were made and then given up at the end.
    abandoned: Vec<u64>,
    unsent: u64,
    in_flight: u64,
    began: Instant,
    ended: Option<Instant>,
    orders: u64,
    /// What is added to flows' numbers: every run has others than the one before.
    flows: u16,
}

/// What is known here of a lane that its worker has.
#[derive(Debug)]
struct Seat {
    port: usize,
    queue: usize,
    board: Arc<Board>,
}

#[derive(Debug)]
struct Member {
    opened: Opened,
    rx: Vec<Arc<CachePadded<RxCounters>>>,
    tx: Vec<Arc<CachePadded<TxCounters>>>,
}

/// Longest wait for the links.
const LINK_WAIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);
/// Bytes that a driver needs for a descriptor at most, packets that a worker's cache can hold.
const DESCRIPTOR: usize = 32;
const CACHE: usize = 512;

impl Rig {
    /// Opens and starts the ports and waits for their links, or until `stop`; nothing is sent yet.
    ///
    /// # Errors
    /// The first thing that is wrong or missing; a rate above a line's. Nothing stays open or allocated.
    pub fn start(settings: &Settings, stop: &AtomicBool) -> Result<Self, Failure> {
        let mut opener = Opener::new(Feed::Silence);
        let opened: Result<Vec<Opened>, _> = settings.ports.iter().map(|spec| opener.open(spec)).collect();
        let opened = opened?;
        let longest = longest(settings);
        let rings = rings(settings, &opened);
        let builder = shape(settings, rings, longest);
        let bytes = (rings[0] + rings[1]) as usize * usize::from(settings.queues) * DESCRIPTOR;
        let plan = opened.iter().fold(
            Plan::new().with(builder.bytes(), settings.huge.pool),
            |plan, _| plan.with(bytes, settings.huge.rings),
        );
        opener.check(&plan)?;
        let pool = builder.build()?;
        let config = PortConfig {
            rx_queues: settings.queues,
            tx_queues: settings.queues,
            rx_ring: rings[0],
            tx_ring: rings[1],
            mtu: (longest.saturating_sub(14) as u32).max(1500),
            promiscuous: true,
            link: LinkRequest::DoNotWait,
            ring_memory: settings.huge.rings,
            interrupts: false,
            ..PortConfig::new(&pool)
        };
        let (mut members, mut queues) = (Vec::new(), Vec::new());
        for opened in opened {
            let (member, started) = Member::start(opened, &config)?;
            members.push(member);
            queues.push(started);
        }
        let mut rig = Self {
            workers: Vec::new(),
            mailboxes: Vec::new(),
            lanes: Vec::new(),
            members,
            pool,
            settings: settings.clone(),
            abandoned: vec![0; settings.flows() * 2],
            unsent: 0,
            in_flight: 0,
            began: Instant::now(),
            ended: None,
            orders: 0,
            flows: 0,
        };
        rig.wait_for_links(stop);
        for port in 0..rig.members.len() {
            rig.cost(port)?;
        }
        rig.employ(queues)?;
        Ok(rig)
    }

    fn wait_for_links(&self, stop: &AtomicBool) {
        let end = Instant::now() + LINK_WAIT;
        let up = || self.members.iter().all(|member| member.opened.port.link().up);
        while !up() && !stop.load(Ordering::SeqCst) && Instant::now() < end {
            sleep(TICK);
        }
    }

    /// Makes lanes of the queues and gives them to workers.
    fn employ(&mut self, queues: Vec<Queues>) -> Result<(), Failure> {
        let settings = &self.settings;
        let clock = Clock::real();
        let mut crews: Vec<Vec<(Lane, u16)>> = settings.workers.iter().map(|_| Vec::new()).collect();
        for (port, queues) in queues.into_iter().enumerate() {
            for (queue, (rx, tx)) in queues.rx.into_iter().zip(queues.tx).enumerate() {
                let first = settings.first_flow(port, queue) as u16;
                let lane = lane(settings, port, queue, first)?;
                let board = Arc::new(Board::default());
                self.lanes.push(Seat {
                    port,
                    queue,
                    board: board.clone(),
                });
                let lane = Lane {
                    port,
                    tx: (tx, lane.0),
                    rx: (rx, lane.1),
                    board,
                    sending: false,
                };
                let crew = queue % crews.len();
                crews[crew].push((lane, first));
            }
        }
        for (index, (crew, core)) in crews.into_iter().zip(&settings.workers).enumerate() {
            let stop = StopToken::default();
            let (mailbox, inbox) = Mailbox::new(64, &stop);
            let (lanes, first): (Vec<Lane>, Vec<u16>) = crew.into_iter().unzip();
            let (pool, clock) = (self.pool.clone(), clock.clone());
            let run = move |stop: &_| work::run(stop, &inbox, lanes, &first, &pool, &clock);
            self.workers
                .push(Worker::spawn_with(stop, *core, &format!("pktgen-{index}"), run)?);
            self.mailboxes.push(mailbox);
        }
        Ok(())
    }

    /// Mbit/s of a port's link; of one that is down, of the fastest it could be; 0 where nothing limits it.
    pub fn speed(&self, port: usize) -> u32 {
        let port = &self.members[port].opened.port;
        match port.link() {
            link if link.up => link.speed,
            _ => port.caps().speed,
        }
    }

    /// What a packet costs on one queue of a port, at the rate of the settings.
    fn cost(&self, port: usize) -> Result<Cost, Failure> {
        let cost = self
            .settings
            .rate
            .cost(self.speed(port), self.settings.mean())
            .map_err(wrong)?;
        Ok(self.shared(cost))
    }

    /// A queue's part of a port's rate.
    fn shared(&self, cost: Cost) -> Cost {
        let queues = f64::from(self.settings.queues);
        Cost {
            packet: cost.packet * queues,
            bit: cost.bit * queues,
        }
    }

    fn tell(&mut self, order: Order, port: Option<usize>) {
        self.orders += 1;
        for mailbox in &self.mailboxes {
            let mut mail = Mail { order, port };
            // A full mailbox is one that the worker is about to empty.
            while let Err(back) = mailbox.send(mail) {
                mail = back;
                sleep(Duration::from_micros(100));
            }
        }
    }

    /// Begins to send, at the rate of the settings, everything anew.
    ///
    /// # Errors
    /// The rate is above a line's.
    pub fn begin(&mut self) -> Result<(), Failure> {
        let (rate, count) = (self.settings.rate, self.settings.count);
        self.begin_with(rate, count, None, true)
    }

    /// Begins to send anew at this rate: so many packets of each port, only of this stream if one is given; with `clear`, what
    /// came before is forgotten.
    ///
    /// # Errors
    /// The rate is above a line's; nothing is sent then.
    pub fn begin_with(
        &mut self,
        rate: Rate,
        count: Option<u64>,
        only: Option<u16>,
        clear: bool,
    ) -> Result<(), Failure> {
        self.settings.rate = rate;
        let mean = match only.and_then(|only| self.settings.streams.get(usize::from(only))) {
            Some(stream) => stream.sizes.mean(),
            None => self.settings.mean(),
        };
        let cost = |port: usize| rate.cost(self.speed(port), mean).map_err(wrong);
        let costs: Result<Vec<Cost>, Failure> = (0..self.members.len()).map(cost).collect();
        self.flows = self.other_flows();
        self.abandoned.fill(0);
        let flows = self.flows;
        let costs = costs?;
        if clear {
            self.tell(Order::Clear, None);
            // Before anything is sent, or the first packets would be forgotten.
            self.wait_for_orders();
        }
        // Shared between queues; a packet more rather than one less.
        let packets = count.map(|count| count.div_ceil(self.settings.queues.into()));
        for (port, cost) in costs.into_iter().enumerate() {
            if !self.settings.sends[port] {
                continue;
            }
            let cost = self.shared(cost);
            let order = Order::Begin {
                flows,
                packets,
                cost,
                only,
            };
            self.tell(order, Some(port));
        }
        (self.began, self.ended) = (Instant::now(), None);
        Ok(())
    }

    /// Waits until workers have done what they were told.
    fn wait_for_orders(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while !self.boards().all(|shown| shown.orders >= self.orders) && Instant::now() < end {
            sleep(Duration::from_micros(200));
        }
    }

    /// The other half of the numbers: what is late from the run before is not taken for this one's.
    fn other_flows(&self) -> u16 {
        if self.flows == 0 && self.orders > 0 {
            self.settings.flows() as u16
        } else {
            0
        }
    }

    /// Changes the rate while it runs.
    ///
    /// # Errors
    /// It is above a line's; nothing has changed then.
    pub fn set_rate(&mut self, rate: Rate) -> Result<(), Failure> {
        let before = std::mem::replace(&mut self.settings.rate, rate);
        let costs: Result<Vec<Cost>, Failure> = (0..self.members.len()).map(|port| self.cost(port)).collect();
        let costs = costs.inspect_err(|_| self.settings.rate = before)?;
        for (port, cost) in costs.into_iter().enumerate() {
            self.tell(Order::Rate(cost), Some(port));
        }
        Ok(())
    }

    /// Whether somebody has told it to send no more.
    pub fn is_held(&self) -> bool {
        self.ended.is_some()
    }

    /// The rate that is asked for now.
    pub fn rate(&self) -> Rate {
        self.settings.rate
    }

    /// Sends no more, or goes on.
    pub fn send(&mut self, send: bool) {
        self.tell(Order::Send(send), None);
        self.ended = (!send).then(Instant::now);
    }

    /// The settings, with the rate as it is now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether every port has sent all that was asked for.
    pub fn is_done(&self) -> bool {
        self.boards()
            .all(|shown| shown.done && shown.orders >= self.orders)
    }

    /// Whether a worker has ended by itself, which none does unless it failed.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(Worker::is_finished)
    }

    /// The first port whose run a device or its bus has ended, and how.
    pub fn died(&mut self) -> Option<String> {
        self.members.iter_mut().find_map(|member| {
            let event = std::iter::from_fn(|| member.opened.port.event())
                .take(8)
                .find(|event| event.ends_run())?;
            Some(format!(
                "{}: the port died in the middle of the test ({event:?}); results so far are below",
                member.opened.spec
            ))
        })
    }

    fn boards(&self) -> impl Iterator<Item = Shown> + '_ {
        self.lanes.iter().map(|seat| seat.board.look())
    }

    /// Where every packet is now, and what is known of those that came.
    pub fn account(&mut self) -> Account {
        let shown: Vec<Shown> = self.boards().collect();
        let mut account = Account::default();
        let mut came = Snapshot::default();
        let mut late = Buckets::new();
        for one in &shown {
            account.made += one.made_ever;
            account.starved += one.starved;
            account.slipped_ns += one.slipped;
            came.add(&one.came);
            late.add(&one.late);
        }
        account.pacing = late.summary();
        (account.damaged, account.foreign) = (came.damaged, came.foreign);
        account.ports = self.members.iter_mut().map(Member::report).collect();
        for (port, report) in account.ports.iter_mut().enumerate() {
            report.most = Rate::most(self.speed(port), self.settings.mean());
        }
        account.flows = self.flow_reports(&shown, &came);
        let end = self.ended.unwrap_or_else(Instant::now);
        account.seconds = end.saturating_duration_since(self.began).as_secs_f64();
        account.settle(self.unsent, self.in_flight);
        account
    }

    /// One of each stream of each port.
    fn flow_reports(&self, shown: &[Shown], came: &Snapshot) -> Vec<FlowReport> {
        let settings = &self.settings;
        let mut reports = Vec::new();
        if settings.replay.is_some() {
            return reports;
        }
        for port in (0..self.members.len()).filter(|port| settings.sends[*port]) {
            for (index, stream) in settings.streams.iter().enumerate() {
                let (mut made, mut state) = (0, FlowState::default());
                for (seat, shown) in self.lanes.iter().zip(shown).filter(|(seat, _)| seat.port == port) {
                    let flow = settings.first_flow(port, seat.queue) + index + usize::from(self.flows);
                    made += shown.made.get(index).copied().unwrap_or(0);
                    made -= self.abandoned.get(flow).copied().unwrap_or(0).min(made);
                    if let Some(Some(one)) = came.flows.get(flow) {
                        state.add(one);
                    }
                }
                reports.push(FlowReport::new(port, index, stream, made, &state));
            }
        }
        reports
    }

    /// Sends no more, waits for what is on its way, stops workers and ports, and closes the account.
    ///
    /// # Errors
    /// Beside the account: a worker or a port that failed, an account that does not balance, or packets that did not come
    /// back to the pool.
    pub fn stop(mut self) -> (Account, Result<(), Failure>) {
        if self.ended.is_none() {
            self.send(false);
        }
        self.settle();
        self.workers.iter().for_each(Worker::stop);
        let (mut result, mut lanes) = (Ok(()), Vec::new());
        for worker in std::mem::take(&mut self.workers) {
            match worker.join() {
                Ok(back) => lanes.extend(back),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        let mut queues: Vec<Queues> = self.members.iter().map(|_| Queues::default()).collect();
        let (places, mut cache) = (self.settings.places(), self.pool.cache());
        for mut lane in lanes {
            if let Some(sender) = &mut lane.tx.1 {
                for flow in sender.abandon(&mut cache, &places) {
                    self.unsent += 1;
                    if let Some(count) = flow.and_then(|flow| self.abandoned.get_mut(usize::from(flow))) {
                        *count += 1;
                    }
                }
            }
            self.in_flight += lane.tx.0.in_flight() as u64;
            queues[lane.port].rx.push(lane.rx.0);
            queues[lane.port].tx.push(lane.tx.0);
        }
        drop(cache);
        let account = self.account();
        for (member, queues) in self.members.iter_mut().zip(queues) {
            result = result.and(member.opened.port.stop(queues).map_err(Failure::from));
        }
        let result = result.and_then(|()| self.check(&account));
        (account, result)
    }

    /// Waits until what was sent has come, and a little longer.
    fn settle(&self) {
        let end = Instant::now() + self.settings.settle;
        while !self.is_done() && Instant::now() < end {
            sleep(TICK);
        }
        sleep(self.settings.settle);
    }

    fn check(&self, account: &Account) -> Result<(), Failure> {
        if !account.balances() {
            let (received, sent, dropped, held) =
                (account.received, account.sent, account.sum(), account.held);
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
    fn start(mut opened: Opened, config: &PortConfig) -> Result<(Self, Queues), Failure> {
        let queues = opened.port.start(config).map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(failure.fault(), format!("{}: {failure}", opened.spec))
        })?;
        let member = Self {
            rx: queues.rx.iter().map(|rx| rx.shared_counters()).collect(),
            tx: queues.tx.iter().map(|tx| tx.shared_counters()).collect(),
            opened,
        };
        Ok((member, queues))
    }

    fn report(&mut self) -> PortReport {
        let mut report = PortReport {
            port: self.opened.spec.to_string(),
            mac: self.opened.port.mac().to_string(),
            ..PortReport::default()
        };
        let link = self.opened.port.link();
        report.link = if link.up { link.speed } else { 0 };
        let mut add = |name, value| *report.queues.entry(name).or_default() += value;
        // Sent before received: what is on its way is not seen as come out of nowhere.
        self.rx.iter().for_each(|rx| rx.each(&mut add));
        self.tx.iter().for_each(|tx| tx.each(&mut add));
        self.opened
            .port
            .counters(&mut |name, value| *report.device.entry(name).or_default() += value);
        report
    }
}

/// The longest frame, without FCS.
fn longest(settings: &Settings) -> usize {
    let replayed = settings.replay.as_ref().map_or(0, |replay| replay.longest());
    settings
        .streams
        .iter()
        .map(Stream::longest)
        .max()
        .unwrap_or(0)
        .max(replayed)
}

/// Receive and transmit ring: as asked for, or 512, or what all ports take.
fn rings(settings: &Settings, opened: &[Opened]) -> [u32; 2] {
    let most = opened
        .iter()
        .map(|opened| opened.port.caps().ring.1)
        .min()
        .unwrap_or(512);
    [settings.rx_ring, settings.tx_ring].map(|ring| ring.unwrap_or(512.min(most)))
}

/// Enough packets that no ring ever starves.
fn shape(settings: &Settings, rings: [u32; 2], longest: usize) -> PoolBuilder {
    let rings = (rings[0] + rings[1]) as usize * usize::from(settings.queues) * settings.ports.len();
    let hands = (CACHE + 2 * settings.burst * settings.ports.len()) * settings.workers.len();
    // Frames are written in blocks; NICs count buffers in KiB.
    let room = (longest + 64 + 18).next_multiple_of(1024).max(2048);
    Pool::builder()
        .packets(rings + hands)
        .data_room(room)
        .source(settings.huge.pool)
}

fn lane(
    settings: &Settings,
    port: usize,
    queue: usize,
    first: u16,
) -> Result<(Option<Sender>, Receiver), Failure> {
    let flows = settings.flows() * 2;
    if flows > usize::from(u16::MAX) {
        return Err(Failure::usage(format!(
            "{flows} flows: 32767 streams times queues times ports are the most"
        )));
    }
    let fill = settings
        .streams
        .first()
        .map(|stream| stream.fill)
        .filter(|_| settings.verify);
    let receiver = Receiver::new(Analyser::new(flows, &settings.places(), fill), settings.burst);
    if !settings.sends[port] {
        return Ok((None, receiver));
    }
    let generator = match &settings.replay {
        Some(replay) => Generator::replaying(replay.clone()),
        None => {
            Generator::new(&settings.streams, first, queue as u64, settings.queues.into()).map_err(wrong)?
        }
    };
    let pacer = Pacer::new(settings.shape, Cost::NONE, 0);
    Ok((Some(Sender::new(generator, pacer, settings.burst)), receiver))
}
