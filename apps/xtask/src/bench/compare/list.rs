//! What can be compared, and what is to be kept.

use crate::bench::dpdk::{Build, Task};

/// What a comparison must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Our cycles divided by theirs.
    Ratio(f64),
    /// Our cycles.
    Cycles(f64),
}

/// One kind of work that both sides can do.
#[derive(Debug)]
pub struct Comparison {
    /// Its name, for `barline-peer` and `dpdk-peer` too.
    pub name: &'static str,
    /// What the peer runs.
    pub task: Task,
    /// Whether it takes a core for each of two pollers.
    pub two_cores: bool,
    debian: Target,
    native: Target,
}

impl Comparison {
    /// What is to be kept beside that build.
    pub fn target(&self, build: Build) -> Target {
        match build {
            Build::Debian => self.debian,
            Build::Native => self.native,
        }
    }

    /// What a packet or object costs is counted in.
    pub fn unit(&self) -> &'static str {
        match self.task {
            Task::Loop => "cycles/object",
            _ => "cycles/packet",
        }
    }
}

const fn forward(name: &'static str, task: Task, debian: f64) -> Comparison {
    Comparison {
        name,
        task,
        two_cores: false,
        debian: Target::Ratio(debian),
        native: Target::Ratio(0.5),
    }
}

const fn alone(name: &'static str, cycles: f64) -> Comparison {
    Comparison {
        name,
        task: Task::Loop,
        two_cores: false,
        debian: Target::Cycles(cycles),
        native: Target::Cycles(cycles),
    }
}

/// All of them.
pub const COMPARISONS: &[Comparison] = &[
    forward("null-io", Task::Testpmd("io"), 0.15),
    forward("null-macswap", Task::Testpmd("macswap"), 0.3),
    forward("null-txonly", Task::TestpmdSends("txonly"), 0.3),
    forward("null-rxonly", Task::Testpmd("rxonly"), 0.3),
    forward("l2fwd-null", Task::L2fwd, 0.3),
    alone("spsc-32", 1.3),
    Comparison {
        name: "spsc-32-two-cores",
        task: Task::Loop,
        two_cores: true,
        debian: Target::Ratio(1.0),
        native: Target::Ratio(1.0),
    },
    alone("mpmc-32", 1.6),
    alone("pool-32", 0.7),
    alone("packet-alloc-free-32", 2.5),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_have_names_of_their_own() {
        for (at, comparison) in COMPARISONS.iter().enumerate() {
            assert!(
                COMPARISONS[..at]
                    .iter()
                    .all(|other| other.name != comparison.name)
            );
        }
    }
}
