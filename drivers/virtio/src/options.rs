//! What of a device's offers is taken: for tests and for finding faults.

use barline::port::PortError;

/// Which features to take where the device offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Packed rings: `packed=off` does without.
    pub packed: bool,
    /// Frames in several buffers: `mrg=on`. Without them the driver need not look at the header of each frame; every frame
    /// of the MTU fits into one buffer anyway.
    pub merge: bool,
    /// Notifications at a position: `event-idx=on` or `off`. Unless told, with split rings only: QEMU (10.0) leaves a stale
    /// position in a packed ring when it resumes sending after its back end was busy, and what is posted then waits.
    pub event_idx: Option<bool>,
    /// Completion in order: `in-order=off`.
    pub in_order: bool,
    /// Drive a device that does not offer VIRTIO_F_ACCESS_PLATFORM: `access-platform=off`. Only where it is known that the IOMMU
    /// stands before it all the same, as before a card of hardware; QEMU's devices go around it.
    pub bypass: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            packed: true,
            merge: false,
            event_idx: None,
            in_order: true,
            bypass: false,
        }
    }
}

impl Options {
    /// Names that `Options::set` knows.
    pub const NAMES: &[&str] = &["packed", "mrg", "event-idx", "in-order", "access-platform"];

    /// Reads a list as in `packed=off,mrg=on`.
    ///
    /// # Errors
    /// [`PortError::Config`] about the first part that is wrong.
    pub fn parse(list: &str) -> Result<Self, PortError> {
        let mut options = Self::default();
        let mut parts = list.split(',').filter(|part| !part.is_empty());
        parts.try_for_each(|part| options.set(part))?;
        Ok(options)
    }

    fn set(&mut self, part: &str) -> Result<(), PortError> {
        let wrong = || {
            let names = Self::NAMES.join(", ");
            PortError::Config(format!(
                "a virtio port has no option {part:?}; write one of {names} with =on or =off"
            ))
        };
        let (name, value) = part.split_once('=').ok_or_else(wrong)?;
        let on = match value {
            "on" => true,
            "off" => false,
            _ => return Err(wrong()),
        };
        match name {
            "packed" => self.packed = on,
            "mrg" => self.merge = on,
            "event-idx" => self.event_idx = Some(on),
            "in-order" => self.in_order = on,
            "access-platform" => self.bypass = !on,
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_switches() {
        let expected = Options {
            packed: false,
            merge: true,
            ..Options::default()
        };
        assert_eq!(Options::parse("packed=off,mrg=on").unwrap(), expected);
        assert_eq!(Options::parse("").unwrap(), Options::default());
        for wrong in ["packed", "packed=yes", "paked=on"] {
            assert!(
                Options::parse(wrong)
                    .unwrap_err()
                    .to_string()
                    .contains("packed, mrg"),
                "{wrong}"
            );
        }
    }
}
