//! Where every frame ended that arrived at a device.

/// What became of a frame that arrived at a device's port. A model says it once a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// In host memory, and reported.
    Delivered,
    /// The receiver was off or there was no link.
    Off,
    /// For another station or VLAN.
    Filtered,
    /// Its FCS was wrong.
    Damaged,
    /// Shorter than a frame may be.
    Short,
    /// Longer than the device was told to take.
    Long,
    /// The device's own buffer was full.
    Missed,
    /// Its queue had no descriptor and is not to wait.
    NoDescriptor,
    /// Its queue could not reach memory, or had stopped for another fault of the host's.
    Lost,
    /// A reset emptied the device's buffer.
    Reset,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Delivered,
        Self::Off,
        Self::Filtered,
        Self::Damaged,
        Self::Short,
        Self::Long,
        Self::Missed,
        Self::NoDescriptor,
        Self::Lost,
        Self::Reset,
    ];
}

/// What a device has done with frames, as the device itself knows: what its driver's counters are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Frames that arrived at the port.
    pub arrived: u64,
    /// Frames that left it.
    pub sent: u64,
    fates: [u64; Fate::ALL.len()],
}

impl Ledger {
    /// Frames that ended so.
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates[fate as usize]
    }

    /// Frames that arrived and have not ended: inside the device.
    pub fn inside(&self) -> u64 {
        self.arrived - self.fates.iter().sum::<u64>()
    }

    pub(crate) fn add(&mut self, fate: Fate, frames: u64) {
        self.fates[fate as usize] += frames;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_has_a_place_of_its_own() {
        let mut ledger = Ledger {
            arrived: 66,
            ..Ledger::default()
        };
        for (at, fate) in Fate::ALL.into_iter().enumerate() {
            ledger.add(fate, at as u64 + 1);
        }
        for (at, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(ledger.count(fate), at as u64 + 1);
        }
        assert_eq!(ledger.inside(), 11);
    }
}
