//! What can be compared, and what is to be kept.

use crate::bench::dpdk::{Build, Task};
use crate::bench::socket::{End, Flow, Ring, SocketTask};

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
            Task::Socket(_) => "ns/packet",
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

/// The generator, with so much of the peer's cycles, whichever build it is.
const fn sends(name: &'static str, mode: &'static str, ratio: f64) -> Comparison {
    Comparison {
        name,
        task: Task::TestpmdSends(mode),
        two_cores: false,
        debian: Target::Ratio(ratio),
        native: Target::Ratio(ratio),
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

/// At least 1.2 times the rate of Debian's build, and that of the native one.
const fn socket(name: &'static str, end: End, ring: Ring, flow: Flow) -> Comparison {
    Comparison {
        name,
        task: Task::Socket(SocketTask { end, ring, flow }),
        two_cores: true,
        debian: Target::Ratio(0.83),
        native: Target::Ratio(1.0),
    }
}

/// All of them.
pub const COMPARISONS: &[Comparison] = &[
    forward("null-io", Task::Testpmd("io"), 0.15),
    forward("null-macswap", Task::Testpmd("macswap"), 0.3),
    forward("null-txonly", Task::TestpmdSends("txonly"), 0.3),
    sends("pktgen-txonly", "txonly", 0.66),
    sends("pktgen-flowgen", "flowgen", 1.0),
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
    socket("virtio-split-out", End::VirtioUser, Ring::Split, Flow::Out),
    socket("virtio-split-in", End::VirtioUser, Ring::Split, Flow::In),
    socket("virtio-split-loop", End::VirtioUser, Ring::Split, Flow::Loop),
    socket("virtio-packed-out", End::VirtioUser, Ring::Packed, Flow::Out),
    socket("virtio-packed-in", End::VirtioUser, Ring::Packed, Flow::In),
    socket("virtio-packed-loop", End::VirtioUser, Ring::Packed, Flow::Loop),
    socket(
        "virtio-in-order-out",
        End::VirtioUser,
        Ring::PackedInOrder,
        Flow::Out,
    ),
    socket(
        "virtio-in-order-in",
        End::VirtioUser,
        Ring::PackedInOrder,
        Flow::In,
    ),
    socket(
        "virtio-in-order-loop",
        End::VirtioUser,
        Ring::PackedInOrder,
        Flow::Loop,
    ),
    socket("vhost-split-out", End::Vhost, Ring::Split, Flow::Out),
    socket("vhost-split-in", End::Vhost, Ring::Split, Flow::In),
    socket("vhost-split-loop", End::Vhost, Ring::Split, Flow::Loop),
    socket("vhost-packed-out", End::Vhost, Ring::Packed, Flow::Out),
    socket("vhost-packed-in", End::Vhost, Ring::Packed, Flow::In),
    socket("vhost-packed-loop", End::Vhost, Ring::Packed, Flow::Loop),
    socket("vhost-in-order-out", End::Vhost, Ring::PackedInOrder, Flow::Out),
    socket("vhost-in-order-in", End::Vhost, Ring::PackedInOrder, Flow::In),
    socket("vhost-in-order-loop", End::Vhost, Ring::PackedInOrder, Flow::Loop),
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
