//! What grows, and what is measured while it does.

/// One thing that grows.
#[derive(Debug)]
pub struct Curve {
    /// Its name in files and on the command line.
    pub name: &'static str,
    /// The title.
    pub about: &'static str,
    /// What grows, for the axis.
    pub x: &'static str,
    /// The option of `barline-peer` that it is.
    pub option: &'static str,
    /// What the option is less than the value: a frame's FCS.
    pub less: usize,
    /// The values.
    pub values: &'static [usize],
    /// What is measured.
    pub series: &'static [Series],
    /// Huge pages of 2 MiB that the largest value takes.
    pub huge_pages: u64,
}

/// One kind of work.
#[derive(Debug)]
pub struct Series {
    /// The name in the legend.
    pub name: &'static str,
    /// The workload of `barline-peer`.
    pub work: &'static str,
    /// Cores that do it.
    pub cores: usize,
    /// Whether they hand packets on, so that their distance matters.
    pub relay: bool,
}

const fn on(cores: usize, name: &'static str, work: &'static str) -> Series {
    Series {
        name,
        work,
        cores,
        relay: false,
    }
}

/// All of them.
pub const CURVES: &[Curve] = &[
    Curve {
        name: "frames",
        about: "Cost of a packet by frame size",
        x: "bytes of a frame, with FCS",
        option: "size",
        less: 4,
        values: &[64, 128, 256, 512, 1024, 1280, 1518],
        series: &[
            on(1, "io", "null-io"),
            on(1, "macswap", "null-macswap"),
            on(1, "txonly", "null-txonly"),
            on(1, "l2fwd", "l2fwd-null"),
            on(2, "l2fwd, 2 cores", "l2fwd-null"),
        ],
        huge_pages: 64,
    },
    Curve {
        name: "bursts",
        about: "Cost of a packet by burst",
        x: "packets of a burst",
        option: "burst",
        less: 0,
        values: &[1, 2, 4, 8, 16, 32, 64],
        series: &[
            on(1, "io", "null-io"),
            on(1, "rxonly", "null-rxonly"),
            on(1, "l2fwd", "l2fwd-null"),
            on(1, "igb driver", "igb-driver"),
            on(2, "igb driver, 2 cores", "igb-driver"),
        ],
        huge_pages: 64,
    },
    Curve {
        name: "rings",
        about: "Cost of a packet or object by length of the ring",
        x: "slots or descriptors of a ring",
        option: "ring",
        less: 0,
        values: &[128, 256, 512, 1024, 2048, 4096],
        series: &[
            on(1, "spsc", "spsc-32"),
            on(1, "mpmc", "mpmc-32"),
            Series {
                name: "spsc, 2 near cores",
                work: "spsc-32-two-cores",
                cores: 2,
                relay: true,
            },
            on(1, "igb driver", "igb-driver"),
            on(2, "igb driver, 2 cores", "igb-driver"),
        ],
        huge_pages: 96,
    },
    Curve {
        name: "pools",
        about: "Cost of a packet by packets in flight",
        x: "packets of a core's pool",
        option: "packets",
        less: 0,
        values: &[
            1 << 10,
            1 << 11,
            1 << 12,
            1 << 13,
            1 << 14,
            1 << 15,
            1 << 16,
            1 << 17,
            1 << 18,
            1 << 19,
            1 << 20,
        ],
        series: &[
            on(1, "in flight", "in-flight"),
            on(2, "in flight, 2 cores", "in-flight"),
            on(1, "io, a stack of packets", "null-io"),
        ],
        huge_pages: 2600,
    },
];
