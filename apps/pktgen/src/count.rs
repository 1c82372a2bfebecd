//! Where every packet is, and what became of the marked ones.

use crate::Rig;
use crate::report::{Account, FlowReport, PortReport};
use crate::rig::Member;
use crate::work::Shown;
use barline_app::adding;
use barline_traffic::{Buckets, FlowState, Rate, Snapshot};
use std::time::Instant;

impl Rig {
    pub(crate) fn boards(&self) -> impl Iterator<Item = Shown> + '_ {
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
    pub(crate) fn flow_reports(&self, shown: &[Shown], came: &Snapshot) -> Vec<FlowReport> {
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
}

impl Member {
    pub(crate) fn report(&mut self) -> PortReport {
        let mut report = PortReport {
            port: self.opened.spec.to_string(),
            mac: self.opened.port.mac().to_string(),
            mode: self.opened.port.mode(),
            ..PortReport::default()
        };
        let link = self.opened.port.link();
        report.link = if link.up { link.speed } else { 0 };
        // Sent before received: what is on its way is not seen as come out of nowhere.
        self.rx.iter().for_each(|rx| rx.each(adding(&mut report.queues)));
        self.tx.iter().for_each(|tx| tx.each(adding(&mut report.queues)));
        self.opened.port.counters(&mut adding(&mut report.device));
        report
    }
}
