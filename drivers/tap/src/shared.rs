use barline::port::{MacAddress, PortCaps, PortConfig, Run};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a port shares with its queues.
#[derive(Debug)]
pub(crate) struct Shared {
    pub run: Run,
    pub promiscuous: AtomicBool,
    pub multicast: AtomicBool,
    /// The address, as a number.
    pub mac: AtomicU64,
}

/// An address as a number.
pub(crate) fn number(mac: &[u8]) -> u64 {
    mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Shared {
    pub fn new(config: &PortConfig, caps: &PortCaps, mac: MacAddress) -> Self {
        Self {
            run: Run::new(config, caps),
            promiscuous: AtomicBool::new(config.promiscuous),
            multicast: AtomicBool::new(false),
            mac: AtomicU64::new(number(&mac.0)),
        }
    }

    /// Whether a frame (14 bytes and more) is wanted.
    #[inline]
    pub fn is_for_us(&self, frame: &[u8]) -> bool {
        let on = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let to = number(&frame[..6]);
        on(&self.promiscuous)
            || to == self.mac.load(Ordering::Relaxed)
            || to == 0xffff_ffff_ffff
            || (frame[0] & 1 != 0 && on(&self.multicast))
    }
}
