use crate::cores::Core;
use crate::forward::{self, Lane, Mail};
use crate::member::Member;
use crate::{Account, Failure, Settings, shape};
use barline::bus::vfio::VfioFunction;
use barline::pool::Pool;
use barline::wait::Watch;
use barline_drivers::{Opened, Opener, SimEnd};
use barline_modes::Addresses;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Ports that forward to each other, from start to stop. Dropping it stops the workers and the devices.
#[derive(Debug)]
pub struct Forwarder {
    // Declared first: workers end before the ports whose queues they have go.
    pub(crate) cores: Vec<Core>,
    /// Lanes that workers were told to give back.
    pub(crate) returns: Receiver<Lane>,
    pub(crate) members: Vec<Member>,
    pub(crate) opener: Opener,
    pub(crate) pool: Pool,
    pub(crate) settings: Settings,
    pub(crate) watch: Watch,
    pub(crate) patrol: Instant,
    started: Instant,
}

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
        let opened = opened?;
        let most = opened.iter().map(|opened| opened.port.caps().ring.1).min();
        let offloads = opened.iter().map(|opened| opened.port.caps().offloads).collect();
        let settings = &settings
            .clone()
            .with_rings_up_to(most.unwrap_or(u32::MAX))
            .with_offloads_of(offloads);
        let shape = shape::shape(settings);
        opened
            .iter()
            .try_for_each(|opened| shape::fits(settings, opened))?;
        opener.check(&settings.sizes().plan(&shape, settings.huge, settings.ports.len()))?;
        let pool = shape.build()?;
        let mut members: Vec<Member> = opened.into_iter().map(Member::new).collect();
        let config = shape::config(settings, &pool);
        members.iter_mut().try_for_each(|member| member.start(&config))?;
        let watch =
            Watch::new().map_err(|error| Failure::run(format!("no events: {error}; see: ulimit -n")))?;
        let (home, returns) = channel();
        let mut forwarder = Self {
            cores: Vec::new(),
            returns,
            members,
            opener,
            pool,
            settings: settings.clone(),
            watch,
            patrol: Instant::now(),
            started: Instant::now(),
        };
        for index in 0..settings.ports.len() {
            forwarder.watch_events(index)?;
        }
        let policy = settings.idle_policy(forwarder.fastest_link());
        let room = settings.ports.len() * usize::from(settings.queues) + 1;
        for (index, core) in settings.workers.iter().enumerate() {
            let name = format!("l2fwd-{index}");
            let core = Core::spawn(&name, *core, policy, room, (&forwarder.pool, settings, &home))?;
            forwarder.cores.push(core);
        }
        forwarder.send_out()?;
        Ok(forwarder)
    }

    /// Mbit/s; 0 where no port has a limit.
    fn fastest_link(&self) -> u32 {
        let opened = self.members.iter().filter_map(|member| member.opened.as_ref());
        opened.map(|opened| opened.port.caps().speed).max().unwrap_or(0)
    }

    pub(crate) fn watch_events(&self, index: usize) -> Result<(), Failure> {
        let opened = &self.members[index].opened;
        let mut fds = opened.iter().flat_map(|opened| opened.port.event_fds());
        fds.try_for_each(|fd| self.watch.add(fd))
            .map_err(|error| Failure::run(format!("no events: {error}")))
    }

    /// Pairs each receive queue that is here with the transmit queue of the same index on the partner port, if that is
    /// here too, and sends the two to their core.
    pub(crate) fn send_out(&mut self) -> Result<(), Failure> {
        for queue in 0..usize::from(self.settings.queues) {
            for from in 0..self.members.len() {
                let Some(lane) = self.lane(from, queue) else {
                    continue;
                };
                let core = &self.cores[queue % self.cores.len()];
                if core.tell(Mail::Take(Box::new(lane))).is_err() {
                    return Err(Failure::run(format!(
                        "worker {} takes no more",
                        core.worker.name()
                    )));
                }
            }
        }
        Ok(())
    }

    fn lane(&mut self, from: usize, queue: usize) -> Option<Lane> {
        let to = self.settings.partner(from);
        let mac = self.members[to].mac();
        self.members[from].rx.get(queue)?.as_ref()?;
        let tx = self.members[to].tx.get_mut(queue)?.take()?;
        let rx = self.members[from].rx[queue].take()?;
        let full = self.members[to].full[queue].clone();
        Some(Lane {
            before: forward::surplus(&*rx, &*tx, &full),
            rx,
            tx,
            addresses: self.settings.mac_update.then(|| Addresses::l2fwd(to as u8, mac)),
            full,
            from,
            to,
            queue,
        })
    }

    /// Whether all links are up.
    pub fn links_up(&self) -> bool {
        let opened = self.members.iter().filter_map(|member| member.opened.as_ref());
        opened.into_iter().all(|opened| opened.port.link().up)
    }

    /// Whether nothing more will come in: all ports are simulated, and their feed has come to its end.
    pub fn is_dry(&self) -> bool {
        self.opener.is_dry()
    }

    /// Packets received so far: cheaper than a whole account.
    pub fn received(&self) -> u64 {
        self.members.iter().map(Member::received).sum()
    }

    /// Whether a worker has ended by itself, which none does unless it failed.
    pub fn has_failed(&self) -> bool {
        self.cores.iter().any(|core| core.worker.is_finished())
    }

    /// The far ends of simulated ports' cables.
    pub fn far_ends(&self) -> impl Iterator<Item = &SimEnd> {
        let opened = self.members.iter().filter_map(|member| member.opened.as_ref());
        opened.filter_map(|opened| opened.sim.as_ref())
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
            account.sent += member.sent();
            for (reason, packets) in member.dropped() {
                *account.dropped.entry(reason).or_default() += packets;
            }
        }
        account.received = self.received();
        account.seconds = self.started.elapsed().as_secs_f64();
        account.ports = self.members.iter_mut().map(Member::report).collect();
        let cores = self.cores.iter();
        account.cores = cores.map(|core| core.report(account.seconds)).collect();
        account
    }

    /// Stops the workers, lets the devices send what they have, stops these too, and closes the account.
    ///
    /// # Errors
    /// Beside the account: a worker or a port that failed, an account that does not balance, or packets that did not
    /// come back to the pool.
    pub fn stop(mut self) -> (Account, Result<(), Failure>) {
        let mut result = Ok(());
        self.cores.iter().for_each(|core| core.worker.stop());
        // Before the workers go, and with them what they are called.
        let cores = std::mem::take(&mut self.cores);
        let seconds = self.started.elapsed().as_secs_f64();
        let reports = cores.iter().map(|core| core.report(seconds)).collect();
        for core in cores {
            match core.worker.join() {
                Ok(back) => back.into_iter().for_each(|lane| self.take_home(lane)),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        while let Ok(lane) = self.returns.try_recv() {
            self.take_home(lane);
        }
        let mut account = self.read();
        account.cores = reports;
        account.held = self.members.iter().map(Member::in_flight).sum();
        account.sent -= account.held.min(account.sent);
        for member in &mut self.members {
            let queues = member.take_queues();
            if let Some(opened) = &mut member.opened {
                result = result.and(opened.port.stop(queues).map_err(Failure::from));
            }
        }
        let result = result.and_then(|()| account.balance().close(&self.pool));
        (account, result.and_then(|()| self.all_well()))
    }

    /// Whether no port failed and stayed away.
    fn all_well(&self) -> Result<(), Failure> {
        let failed = self.members.iter().find(|member| member.has_failed());
        failed.map_or(Ok(()), |member| {
            let (spec, what) = match member.state() {
                "taken" => (&member.spec, "was taken over by another program"),
                "stalled" => (&member.spec, "stood still"),
                _ => (&member.spec, "failed"),
            };
            Err(Failure::run(format!(
                "{spec} {what} while it ran; what is known of it was said then"
            )))
        })
    }
}

/// Longest wait for the links at the start.
pub const LINK_WAIT: Duration = Duration::from_secs(5);
