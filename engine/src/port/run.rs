use super::{PortCaps, PortConfig, PortError};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One run of a port, from its start to its stop, as the port and its queues share it. For ports whose queues look at it
/// themselves: those over files and sockets of the kernel.
#[derive(Debug)]
pub struct Run {
    ended: AtomicBool,
    /// Longest frame in bytes, without FCS.
    limit: AtomicU32,
    /// Longest MTU in bytes.
    most: u32,
}

/// Bytes of a frame beyond the MTU: the Ethernet header and a VLAN tag.
const HEADERS: u32 = 18;

impl Run {
    /// A run as it was asked for.
    pub fn new(config: &PortConfig, caps: &PortCaps) -> Self {
        Self {
            ended: AtomicBool::new(false),
            limit: AtomicU32::new(config.max_frame()),
            most: longest_mtu(caps.mtu, config.pool.data_room()),
        }
    }

    /// The port is stopped.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it is over.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Longest frame in bytes, without FCS, that passes now.
    #[inline]
    pub fn max_frame(&self) -> usize {
        self.limit.load(Ordering::Relaxed) as usize
    }

    /// Whether this MTU is possible.
    ///
    /// # Errors
    /// [`PortError::Config`].
    pub fn check_mtu(&self, mtu: u32) -> Result<(), PortError> {
        check_mtu(mtu, self.most)
    }

    /// Changes the longest frame, for every burst that begins after this.
    ///
    /// # Errors
    /// As [`Run::check_mtu`].
    pub fn set_mtu(&self, mtu: u32) -> Result<(), PortError> {
        self.check_mtu(mtu)?;
        self.limit.store(mtu + HEADERS, Ordering::Relaxed);
        Ok(())
    }
}

/// The longest MTU in bytes of a port that can have `most` and whose buffers have `room` bytes.
pub fn longest_mtu(most: u32, room: usize) -> u32 {
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    most.min(room.saturating_sub(HEADERS))
}

/// Whether a running port may change to this MTU.
///
/// # Errors
/// [`PortError::Config`].
pub fn check_mtu(mtu: u32, most: u32) -> Result<(), PortError> {
    match (68..=most).contains(&mtu) {
        true => Ok(()),
        false => Err(PortError::Config(format!(
            "MTU {mtu} asked for, 68 to {most} fit the interface and the port's buffers"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_fits_the_interface_and_the_buffers() {
        assert_eq!((longest_mtu(1500, 2048), longest_mtu(9000, 2048)), (1500, 2030));
        assert_eq!(longest_mtu(1500, 0), 0);
        for (mtu, fits) in [(67, false), (68, true), (1500, true), (1501, false)] {
            assert_eq!(check_mtu(mtu, 1500).is_ok(), fits, "{mtu}");
        }
    }
}
