//! The device's statistics (data sheet 8.19): read clears, so they are summed here.

use crate::regs::RQDPC;
use barline::mmio::{Bar, RC, Reg};
use barline::telemetry::CounterSink;

/// Name, register (low half), and whether the next register is its high half.
const TABLE: &[(&str, Reg<RC>, bool)] = &[
    ("nic_rx_total", Reg::new("TPR", 0x40D0), false),
    ("nic_rx_packets", Reg::new("GPRC", 0x4074), false),
    ("nic_rx_bytes", Reg::new("GORCL", 0x4088), true),
    ("nic_rx_broadcast", Reg::new("BPRC", 0x4078), false),
    ("nic_rx_multicast", Reg::new("MPRC", 0x407C), false),
    ("nic_rx_missed", Reg::new("MPC", 0x4010), false),
    ("nic_rx_no_descriptor", Reg::new("RNBC", 0x40A0), false),
    ("nic_rx_crc_errors", Reg::new("CRCERRS", 0x4000), false),
    ("nic_rx_alignment_errors", Reg::new("ALGNERRC", 0x4004), false),
    ("nic_rx_errors", Reg::new("RXERRC", 0x400C), false),
    ("nic_rx_length_errors", Reg::new("RLEC", 0x4040), false),
    ("nic_rx_undersize", Reg::new("RUC", 0x40A4), false),
    ("nic_rx_oversize", Reg::new("ROC", 0x40AC), false),
    ("nic_tx_packets", Reg::new("GPTC", 0x4080), false),
    ("nic_tx_bytes", Reg::new("GOTCL", 0x4090), true),
];

/// Sums since the start.
#[derive(Debug, Default)]
pub struct Counters {
    sums: [u64; TABLE.len()],
    queue_drops: u64,
}

impl Counters {
    /// Forgets what the device has counted so far.
    pub fn clear(&mut self, bar: &Bar) {
        self.update(bar, RQDPC.len());
        *self = Self::default();
    }

    /// Adds what the device has counted since the last call.
    pub fn update(&mut self, bar: &Bar, queues: usize) {
        let drops = (0..queues)
            .map(|q| bar.read(RQDPC.at(q)))
            .filter(|n| *n != u32::MAX);
        self.queue_drops += drops.map(u64::from).sum::<u64>();
        for (sum, (_, reg, wide)) in self.sums.iter_mut().zip(TABLE) {
            let low = bar.read(*reg);
            let high = if *wide {
                bar.read(Reg::<RC>::new("high half", reg.offset() as u32 + 4))
            } else {
                0
            };
            // All ones: the device is gone, and what it would say is no count.
            if low != u32::MAX {
                *sum += u64::from(low) | u64::from(high) << 32;
            }
        }
    }

    /// Frames for which no descriptor was there: they waited, or are lost.
    pub fn lost(&self) -> u64 {
        let named = self.sums.iter().zip(TABLE);
        let waited = named.filter(|(_, (name, ..))| ["nic_rx_missed", "nic_rx_no_descriptor"].contains(name));
        self.queue_drops + waited.map(|(sum, _)| sum).sum::<u64>()
    }

    /// Shows them.
    pub fn show(&self, out: &mut dyn CounterSink) {
        out.counter("nic_rx_queue_drops", self.queue_drops);
        for (sum, (name, ..)) in self.sums.iter().zip(TABLE) {
            out.counter(name, *sum);
        }
    }
}
