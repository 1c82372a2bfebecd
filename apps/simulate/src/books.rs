//! What a device has done in one life, beside what its driver shows of it.

use crate::plan::PortPlan;
use crate::subject::Device;
use anyhow::{Result, ensure};
use barline_sim::{Fate, Ledger};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The accounts of one device in one life.
#[derive(Debug)]
pub struct Books<'a> {
    /// The device.
    pub device: &'a dyn Device,
    /// What was planned for it.
    pub plan: &'a PortPlan,
    /// What it had done before it was started.
    pub before: Ledger,
    /// What it had done when its start was over.
    pub started: Ledger,
    /// What it had done when its driver was asked for its counters: answers take time.
    pub asked: Ledger,
    /// Its counters as the driver shows them.
    pub shown: BTreeMap<&'static str, u64>,
}

impl Books<'_> {
    /// A counter as it is shown; 0 where it is not.
    pub fn value(&self, name: &str) -> u64 {
        self.shown.get(name).copied().unwrap_or(0)
    }

    /// Frames of these fates.
    pub fn fated(&self, fates: &[Fate]) -> u64 {
        count(&self.device.ledger(), fates) - count(&self.before, fates)
    }

    /// How many of these the driver may have been told of, which cannot ask for all at once nor before the device is on.
    pub fn told(&self, fates: &[Fate]) -> RangeInclusive<u64> {
        count(&self.asked, fates) - count(&self.started, fates)..=self.fated(fates)
    }

    /// Frames that left the device.
    pub fn sent(&self) -> u64 {
        self.device.ledger().sent - self.before.sent
    }

    /// Frames that came.
    pub fn arrived(&self) -> u64 {
        self.device.ledger().arrived - self.before.arrived
    }

    /// Frames that are in the device now.
    pub fn inside(&self) -> u64 {
        self.device.ledger().inside()
    }

    /// Counters that must be just so.
    pub fn equal(&self, counters: &[(&str, u64)]) -> Result<()> {
        for (name, wanted) in counters {
            let is = self.value(name);
            ensure!(is == *wanted, "{name} is {is}, and {wanted} it was");
        }
        Ok(())
    }
}

fn count(ledger: &Ledger, fates: &[Fate]) -> u64 {
    fates.iter().map(|fate| ledger.count(*fate)).sum()
}
