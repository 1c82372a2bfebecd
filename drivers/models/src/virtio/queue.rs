//! One virtqueue: its registers, and its ring once it is enabled.

use super::chain::{Chain, Fail, Mark, Setup};
use super::feature;
use super::misuse::Misuse;
use super::packed::Packed;
use super::report::{Report, Used, batched};
use super::split::Split;
use barline_sim::{Host, Side};

/// No interrupt (4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// What a queue has seen and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Notifications by the driver.
    pub notifications: u64,
    /// Interrupts sent for it.
    pub interrupts: u64,
    /// Packets delivered to the driver, or sent on the wire; commands.
    pub packets: u64,
    /// Their bytes; commands that succeeded.
    pub bytes: u64,
    /// Packets dropped for any reason.
    pub drops: u64,
    /// Of these: for want of a receive buffer; malformed (transmit).
    pub overruns: u64,
    /// Used entries written.
    pub used: u64,
}

/// The ring's format.
#[derive(Clone, Copy, Debug)]
pub enum Ring {
    /// 2.7
    Split(Split),
    /// 2.8
    Packed(Packed),
}

/// One virtqueue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// `queue_size`.
    pub size: u16,
    /// `queue_msix_vector`.
    pub vector: u16,
    /// `queue_desc`, `queue_driver`, `queue_device`.
    pub areas: [u64; 3],
    /// The ring and what it goes by, while `queue_enable` is 1.
    pub ring: Option<(Setup, Ring)>,
    /// It was reset by itself (2.6.1).
    pub was_reset: bool,
    /// There may be buffers: the driver notified since they ran out.
    pub awake: bool,
    /// What is used and not written yet.
    pub done: Vec<Used>,
    /// Counts.
    pub stats: QueueStats,
}

impl Queue {
    /// A queue after a reset, of at most `size` descriptors.
    pub fn new(size: u16) -> Self {
        Self {
            size,
            vector: NO_VECTOR,
            areas: [0; 3],
            ring: None,
            was_reset: false,
            awake: false,
            done: Vec::new(),
            stats: QueueStats::default(),
        }
    }

    /// Whether `queue_enable` is 1.
    pub fn enabled(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether it told lies.
    pub fn lied(&self) -> bool {
        match &self.ring {
            Some((_, Ring::Split(ring))) => ring.lied(),
            Some((_, Ring::Packed(ring))) => ring.lied(),
            None => false,
        }
    }

    /// Enables it.
    pub fn enable(&mut self, features: u64) -> Result<(), Misuse> {
        let has = |bit| features & bit != 0;
        let packed = has(feature::RING_PACKED);
        let [desc, driver, device] = self.areas;
        let driver_align = if packed { 4 } else { 2 };
        for (area, align) in [(desc, 16), (driver, driver_align), (device, 4)] {
            if !area.is_multiple_of(align) {
                return Err(Misuse::Unaligned(area));
            }
        }
        let setup = Setup {
            size: self.size,
            desc,
            driver,
            device,
            indirect: has(feature::INDIRECT_DESC),
            event_idx: has(feature::EVENT_IDX),
            in_order: has(feature::IN_ORDER),
        };
        let ring = match packed {
            true => Ring::Packed(Packed::default()),
            false => Ring::Split(Split::default()),
        };
        self.ring = Some((setup, ring));
        Ok(())
    }

    /// The next buffer that the driver made available.
    pub fn next(&mut self, host: &mut Host, notes: &mut Vec<Misuse>) -> Result<Option<Chain>, Fail> {
        match &mut self.ring {
            Some((setup, Ring::Split(ring))) => ring.next(host, setup, notes),
            Some((setup, Ring::Packed(ring))) => ring.next(host, setup, notes),
            None => Ok(None),
        }
    }

    /// The next buffer; where there is none, the queue sleeps until the driver notifies.
    pub fn next_or_sleep(
        &mut self,
        host: &mut Host,
        polls: bool,
        notes: &mut Vec<Misuse>,
    ) -> Result<Option<Chain>, Fail> {
        if !self.awake {
            return Ok(None);
        }
        if let Some(chain) = self.next(host, notes)? {
            return Ok(Some(chain));
        }
        if polls {
            return Ok(None);
        }
        self.ask(host, true)?;
        // What came before the driver could see that it is to notify.
        let late = self.next(host, notes)?;
        self.awake = late.is_some();
        Ok(late)
    }

    /// Says whether the driver is to notify.
    pub fn ask(&mut self, host: &mut Host, on: bool) -> Result<(), Fail> {
        match &mut self.ring {
            Some((setup, Ring::Split(ring))) => ring.ask(host, setup, on),
            Some((setup, Ring::Packed(ring))) => ring.ask(host, setup, on),
            None => Ok(()),
        }
    }

    /// The next buffer's place, to come back to where buffers turn out not to be enough.
    pub fn bookmark(&self) -> Mark {
        match &self.ring {
            Some((_, Ring::Split(ring))) => ring.bookmark(),
            Some((_, Ring::Packed(ring))) => ring.bookmark(),
            None => Mark::default(),
        }
    }

    /// Goes back there. Nothing was published since.
    pub fn back_to(&mut self, mark: Mark) {
        match &mut self.ring {
            Some((_, Ring::Split(ring))) => ring.back_to(mark),
            Some((_, Ring::Packed(ring))) => ring.back_to(mark),
            None => {}
        }
    }

    /// Writes what is done: one entry each, or one for `batch` of them where buffers are used in order.
    pub fn publish(&mut self, host: &mut Host, side: Option<Side>, batch: u16) -> Result<(), Fail> {
        let Some((setup, ring)) = &mut self.ring else {
            self.done.clear();
            return Ok(());
        };
        if self.done.is_empty() {
            return Ok(());
        }
        if setup.in_order {
            batched(&mut self.done, batch);
        }
        for used in self.done.iter_mut().filter(|used| used.report.is_none()) {
            used.report = Some(match side {
                Some(side) => Report::draw(host, side, used.id, used.len, 0, 0),
                None => Report::plain(used.id, used.len),
            });
        }
        self.stats.used += self.done.len() as u64;
        let result = match ring {
            Ring::Split(ring) => ring.publish(host, setup, &self.done),
            Ring::Packed(ring) => ring.publish(host, setup, &self.done),
        };
        self.done.clear();
        result
    }

    /// Shows what was kept back and is due, and says whether the driver is to be interrupted.
    pub fn tells(&mut self, host: &mut Host, notes: &mut Vec<Misuse>) -> Result<bool, Fail> {
        match &mut self.ring {
            Some((setup, Ring::Split(ring))) => {
                ring.settle(host, setup)?;
                ring.tells(host, setup, notes)
            }
            Some((setup, Ring::Packed(ring))) => ring.tells(host, setup, notes),
            None => Ok(false),
        }
    }
}
