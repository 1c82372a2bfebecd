//! What a [`Rig`] can be told while it runs.

use crate::Rig;
use crate::settings::{Settings, wrong};
use crate::work::{Mail, Order};
use barline::worker::Worker;
use barline_app::Failure;
use barline_drivers::SimEnd;
use barline_traffic::{Cost, Rate};
use std::thread::sleep;
use std::time::{Duration, Instant};

impl Rig {
    /// Mbit/s of a port's link; of one that is down, of the fastest it could be; 0 where nothing limits it.
    pub fn speed(&self, port: usize) -> u32 {
        let port = &self.members[port].opened.port;
        match port.link() {
            link if link.up => link.speed,
            _ => port.caps().speed,
        }
    }

    /// A queue's part of a port's rate.
    fn shared(&self, cost: Cost) -> Cost {
        let queues = f64::from(self.settings.queues);
        Cost {
            packet: cost.packet * queues,
            bit: cost.bit * queues,
        }
    }

    pub(crate) fn tell(&mut self, order: Order, port: Option<usize>) {
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
        let costs = self.costs(rate, only);
        self.flows = self.other_flows();
        self.abandoned.fill(0);
        let flows = self.flows;
        let costs = costs?;
        if clear {
            self.tell(Order::Clear, None);
            // Before anything is sent, or the first packets would be forgotten.
            self.wait_for_orders();
        }
        for (port, cost) in costs.into_iter().enumerate() {
            if !self.settings.sends[port] {
                continue;
            }
            let cost = self.shared(cost);
            let order = Order::Begin {
                flows,
                packets: count,
                cost,
                only,
            };
            self.tell(order, Some(port));
        }
        (self.began, self.ended) = (Instant::now(), None);
        Ok(())
    }

    /// Waits until workers have done what they were told.
    pub(crate) fn wait_for_orders(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while !self.boards().all(|shown| shown.orders >= self.orders) && Instant::now() < end {
            sleep(Duration::from_micros(200));
        }
    }

    /// The next share of the numbers: what is late from the runs before is not taken for this one's.
    pub(crate) fn other_flows(&self) -> u16 {
        match self.orders {
            0 => 0,
            _ => (usize::from(self.flows) + self.settings.flows()) as u16 % self.settings.numbers() as u16,
        }
    }

    /// What a packet costs at each port, of this stream if one is given.
    pub(crate) fn costs(&self, rate: Rate, only: Option<u16>) -> Result<Vec<Cost>, Failure> {
        let mean = match only.and_then(|only| self.settings.streams.get(usize::from(only))) {
            Some(stream) => stream.sizes.mean(),
            None => self.settings.mean(),
        };
        let cost = |port: usize| rate.cost(self.speed(port), mean).map_err(wrong);
        (0..self.members.len()).map(cost).collect()
    }

    /// Changes the rate while it runs.
    ///
    /// # Errors
    /// It is above a line's; nothing has changed then.
    pub fn set_rate(&mut self, rate: Rate) -> Result<(), Failure> {
        self.set_rate_of(rate, None)
    }

    /// The same where only this stream is sent.
    pub(crate) fn set_rate_of(&mut self, rate: Rate, only: Option<u16>) -> Result<(), Failure> {
        let costs = self.costs(rate, only)?;
        self.settings.rate = rate;
        for (port, cost) in costs.into_iter().enumerate() {
            self.tell(Order::Rate(self.shared(cost)), Some(port));
        }
        Ok(())
    }

    /// The settings, with the rate as it is now.
    pub fn settings(&self) -> &Settings {
        &self.settings
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

    /// The far ends of simulated ports' cables.
    pub fn far_ends(&self) -> impl Iterator<Item = &SimEnd> {
        self.members
            .iter()
            .filter_map(|member| member.opened.sim.as_ref())
    }
}
