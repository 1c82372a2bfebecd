use crate::make::{lane, longest, rings, shape};
use crate::report::Account;
use crate::settings::Settings;
use crate::work::{self, Board, Lane, Mail};
use barline::pool::Pool;
use barline::port::{LinkRequest, PortConfig, Queues};
use barline::telemetry::{RxCounters, TxCounters};
use barline::worker::{Mailbox, StopToken, Worker};
use barline_app::{Failure, Sizes};
use barline_drivers::{Feed, Opened, Opener};
use barline_traffic::Clock;
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports that send to each other or through something, from start to stop. Dropping it stops workers and devices.
#[derive(Debug)]
pub struct Rig {
    // Declared first: workers end before the ports whose queues they have go.
    pub(crate) workers: Vec<Worker<Vec<Lane>>>,
    pub(crate) mailboxes: Vec<Mailbox<Mail>>,
    pub(crate) lanes: Vec<Seat>,
    pub(crate) members: Vec<Member>,
    pub(crate) pool: Pool,
    pub(crate) settings: Settings,
    /// Flows of packets that were made and then given up at the end.
    pub(crate) abandoned: Vec<u64>,
    pub(crate) unsent: u64,
    pub(crate) in_flight: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
    settled: bool,
    pub(crate) orders: u64,
    /// What is added to flows' numbers: every run has others than the one before.
    pub(crate) flows: u16,
}

/// What is known here of a lane that its worker has.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) port: usize,
    pub(crate) queue: usize,
    pub(crate) board: Arc<Board>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) opened: Opened,
    pub(crate) rx: Vec<Arc<CachePadded<RxCounters>>>,
    pub(crate) tx: Vec<Arc<CachePadded<TxCounters>>>,
}

/// Longest wait for the links.
const LINK_WAIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);

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
        let [rx_ring, tx_ring] = rings(settings, &opened);
        let sizes = Sizes {
            queues: settings.queues,
            rx_ring,
            tx_ring,
        };
        opened.iter().try_for_each(|opened| sizes.fit(opened))?;
        let builder = shape(settings, sizes, longest);
        opener.check(&sizes.plan(&builder, settings.huge, opened.len()))?;
        let pool = builder.build()?;
        let config = PortConfig {
            rx_queues: settings.queues,
            tx_queues: settings.queues,
            rx_ring,
            tx_ring,
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
            abandoned: vec![0; settings.numbers()],
            unsent: 0,
            in_flight: 0,
            began: Instant::now(),
            ended: None,
            settled: false,
            orders: 0,
            flows: 0,
        };
        rig.wait_for_links(stop);
        rig.costs(rig.settings.rate, None)?;
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
                    queue: [queue as u64, settings.queues.into()],
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

    /// Sends no more, waits for what is on its way, stops workers and ports, and closes the account.
    ///
    /// # Errors
    /// Beside the account: a worker or a port that failed, an account that does not balance, or packets that did not come
    /// back to the pool.
    pub fn stop(mut self) -> (Account, Result<(), Failure>) {
        if !self.settled {
            self.settle(&AtomicBool::new(false));
        }
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
        let result = result.and_then(|()| account.balance().close(&self.pool));
        (account, result)
    }

    /// Sends no more and waits for what is on its way, for the time of the settings, or until `stop`. [`Rig::stop`] does
    /// it where nobody has.
    pub fn settle(&mut self, stop: &AtomicBool) {
        if self.ended.is_none() {
            self.send(false);
        }
        self.settled = true;
        let settle = self.settings.settle;
        let wait = |done: &dyn Fn() -> bool| {
            let end = Instant::now() + settle;
            while !done() && !stop.load(Ordering::SeqCst) && Instant::now() < end {
                sleep(TICK.min(end.saturating_duration_since(Instant::now())));
            }
        };
        wait(&|| self.is_done());
        wait(&|| false);
    }
}
