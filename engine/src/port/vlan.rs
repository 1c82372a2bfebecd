use crate::port::PortError;
use std::fmt;
use std::str::FromStr;

/// Identifiers of VLANs (IEEE 802.1Q-2022, 9.6): 12 bits, the last one reserved.
const IDS: u16 = 4095;
const WORDS: usize = 64;

/// Tags that a port's filter lets pass, by their VLAN identifier, 0 to 4094. Frames without a tag always pass; those with a
/// priority but no VLAN have identifier 0. Only the outermost tag counts, and only with EtherType 0x8100.
///
/// ```
/// let filter: barline::port::VlanFilter = "0,100-102".parse()?;
/// assert!(filter.has(101) && !filter.has(103));
/// # Ok::<_, barline::port::PortError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VlanFilter(Box<[u64; WORDS]>);

impl VlanFilter {
    /// What a driver says to [`Change::Promiscuous`](crate::port::Change::Promiscuous) of a port that filters.
    pub const PROMISCUOUS: PortError = PortError::Unsupported("be promiscuous while it filters VLANs");
    /// And to [`Change::Vlan`](crate::port::Change::Vlan) of one that does not.
    pub const NOT_STARTED: PortError =
        PortError::Unsupported("filter VLANs: it was started without a filter");

    /// One that lets no tag pass.
    pub fn new() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Lets an identifier pass, or not any more.
    ///
    /// # Errors
    /// [`PortError::Config`] for one that is none.
    pub fn set(&mut self, id: u16, passes: bool) -> Result<(), PortError> {
        Self::check(id)?;
        let (word, bit) = (usize::from(id / 64), id % 64);
        self.0[word] = self.0[word] & !(1 << bit) | u64::from(passes) << bit;
        Ok(())
    }

    /// Whether a number is an identifier.
    ///
    /// # Errors
    /// [`PortError::Config`] for one that is none.
    pub fn check(id: u16) -> Result<(), PortError> {
        let wrong = || PortError::Config(format!("VLAN {id}: identifiers are 0 to {}", IDS - 1));
        (id < IDS).then_some(()).ok_or_else(wrong)
    }

    /// Whether an identifier passes.
    pub fn has(&self, id: u16) -> bool {
        let word = self.0.get(usize::from(id / 64));
        word.is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    /// All that pass.
    pub fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        (0..IDS).filter(|id| self.has(*id))
    }
}

impl Default for VlanFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VlanFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}

impl FromStr for VlanFilter {
    type Err = PortError;

    /// Identifiers and ranges of them with commas between, as in `0,100,200-210`.
    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = || {
            let text = format!("{text:?} are no VLANs: write identifiers and ranges, as in 0,100,200-210");
            PortError::Config(text)
        };
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| wrong()),
            false => Err(wrong()),
        };
        let mut filter = Self::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            Self::check(last)?;
            (first..=last).try_for_each(|id| filter.set(id, true))?;
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0..IDS, any::<bool>()), 0..200)) {
            let (mut filter, mut set) = (VlanFilter::new(), BTreeSet::new());
            for (id, passes) in steps {
                filter.set(id, passes).expect("an identifier");
                if passes { set.insert(id) } else { set.remove(&id) };
            }
            prop_assert_eq!(filter.ids().collect::<Vec<_>>(), set.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_text_panics(text in "[-0-9, a]{0,12}") {
            let _ = text.parse::<VlanFilter>();
        }
    }

    #[test]
    fn ranges_and_what_is_none() {
        let filter: VlanFilter = "5,0,4090-4094".parse().expect("VLANs");
        assert_eq!(
            filter.ids().collect::<Vec<_>>(),
            [0, 5, 4090, 4091, 4092, 4093, 4094]
        );
        for text in [
            "", "4095", "1-", "-1", "2-1", "1,,2", "+1", "a", "65536", "1-4095", "1-2-3",
        ] {
            let error = text.parse::<VlanFilter>().expect_err(text).to_string();
            assert!(error.contains("VLAN"), "{error}");
        }
        assert!(VlanFilter::new().set(4095, true).is_err() && !VlanFilter::new().has(u16::MAX));
    }
}
