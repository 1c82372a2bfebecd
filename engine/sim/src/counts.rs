//! What the host did to a device and the device to the host.

/// Queues that doorbells are counted for.
pub const MAX_QUEUES: usize = 16;

/// Counts of everything that crosses between a device and its host: what a test asserts "no register read in a
/// burst" and "one doorbell at most" with. Configuration space is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Register reads.
    pub reads: u64,
    /// Register writes, doorbells among them.
    pub writes: u64,
    /// Receive doorbells by queue.
    pub rx_doorbells: [u64; MAX_QUEUES],
    /// Transmit doorbells by queue.
    pub tx_doorbells: [u64; MAX_QUEUES],
    /// DMA reads by the device.
    pub dma_reads: u64,
    /// DMA writes by the device.
    pub dma_writes: u64,
    /// DMA accesses that did not happen: outside a mapping, or not a bus master.
    pub dma_faults: u64,
    /// Of these, those for want of COMMAND bit 2.
    pub dma_without_master: u64,
    /// DMA accesses that did not happen because a plan said so.
    pub dma_refused: u64,
    /// MSI-X messages that reached an eventfd.
    pub interrupts: u64,
}

impl Counts {
    /// All doorbells.
    pub fn doorbells(&self) -> u64 {
        self.rx_doorbells.iter().chain(&self.tx_doorbells).sum()
    }
}
