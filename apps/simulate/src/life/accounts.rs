//! What the driver says of a life against what the devices did.

use super::Life;
use crate::books::Books;
use crate::lane::Lane;
use crate::oracle::Seen;
use crate::plan::PortPlan;
use crate::world::Station;
use anyhow::{Context, Result, bail, ensure};
use barline::port::Port;
use barline_sim::{Fate, Ledger};
use std::collections::BTreeMap;

impl Life<'_> {
    fn done(&self, at: usize) -> Ledger {
        self.world.stations[at].device.ledger()
    }

    fn fated(&self, at: usize, fates: &[Fate]) -> u64 {
        let count = |ledger: &Ledger| fates.iter().map(|fate| ledger.count(*fate)).sum::<u64>();
        count(&self.done(at)) - count(&self.before[at])
    }

    /// What the device delivered was received: by reason, or in the ring when the life was cut short.
    pub(super) fn check_received(&self, at: usize, station: &Station, lanes: &[Lane]) -> Result<()> {
        if station.plan.lies() {
            return Ok(()); // the oracle has looked at each burst
        }
        let mine = lanes.iter().filter(|lane| lane.from == at);
        let seen: u64 = mine.map(|lane| Seen::of(lane.rx.counters()).frames()).sum();
        let delivered = self.fated(at, &[Fate::Delivered]);
        ensure!(
            seen == delivered || self.cut && seen < delivered,
            "port {at}: {delivered} frames were delivered, {seen} received"
        );
        Ok(())
    }

    /// What was handed to the device left it, or is in it.
    pub(super) fn check_sent(&self, at: usize, station: &Station, lanes: &[Lane]) -> Result<()> {
        let mine = || lanes.iter().filter(|lane| lane.to == at);
        let handed: u64 = mine().map(|lane| lane.tx.counters().tx_packets.get()).sum();
        let held: u64 = mine().map(|lane| lane.tx.in_flight() as u64).sum();
        let left = self.done(at).sent - self.before[at].sent;
        ensure!(
            left <= handed,
            "port {at}: {handed} packets were handed to the device, {left} left it"
        );
        let left = left + station.device.unsent();
        // Each wrong report may have said of a whole ring that it is done, which the device then has not seen.
        let rings = u64::from(self.plan.queues) + station.plan.wrong_reports();
        ensure!(
            handed.saturating_sub(left) <= rings * u64::from(self.plan.rings.1),
            "port {at}: {} packets are nowhere",
            handed - left
        );
        let idle = !self.cut && !station.plan.may_keep() && station.device.works();
        ensure!(
            !idle || (left, held) == (handed, 0),
            "port {at}: {handed} handed to the device, {left} left it, {held} held"
        );
        Ok(())
    }

    /// The device's own counters, as the driver shows them, against what the device did.
    pub(super) fn check_device_counters(
        &self,
        at: usize,
        station: &Station,
        port: &mut dyn Port,
    ) -> Result<()> {
        let (asked, mut shown) = (self.done(at), BTreeMap::new());
        let mut show = |name, value| _ = shown.insert(name, value);
        self.world.bounded("counters", || port.counters(&mut show))?;
        if station.device.is_gone() {
            return Ok(()); // what it had counted since the last look went with it
        }
        let books = Books {
            device: &*station.device,
            plan: &station.plan,
            before: self.before[at],
            started: self.started[at],
            asked,
            shown,
        };
        (station.plan.subject().counters)(&books).with_context(|| format!("port {at}"))
    }

    /// Where nothing was to go wrong nothing did, and what came out is what came in.
    pub(super) fn check_complete(&self, lanes: &[Lane]) -> Result<()> {
        let mixed = self.plan.ports.iter().any(PortPlan::mixes);
        for (at, station) in self.world.stations.iter().enumerate() {
            let source = &self.world.stations[self.plan.partner(at)];
            if !mixed && !source.plan.lies() && !station.plan.lies() {
                let strange = station
                    .sink
                    .take()
                    .into_iter()
                    .find(|frame| !source.tap.has(frame));
                if let Some(frame) = strange {
                    bail!("port {at} sent what nobody sent to it: {frame:02x?}");
                }
            }
            let starved = lanes.iter().any(|lane| lane.rx.counters().rx_no_buffer.get() > 0);
            let calm = !self.cut && !starved && station.plan.faults.is_empty() && station.plan.link;
            let kept = self.done(at).inside();
            ensure!(!calm || kept == 0, "port {at}: {kept} frames stay in the device");
        }
        Ok(())
    }
}
