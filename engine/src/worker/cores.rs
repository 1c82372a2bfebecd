use std::fmt;
use std::ops::RangeInclusive;

/// A core that this process may run on. Only [`Cores`] makes one, so it was there when the list was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(usize);

impl CoreId {
    /// The kernel's number of it.
    pub fn number(self) -> usize {
        self.0
    }

    /// Pins the calling thread to it; whether the kernel agreed.
    pub(super) fn pin_this_thread(self) -> bool {
        core_affinity::set_for_current(core_affinity::CoreId { id: self.0 })
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a list of cores could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// Not a list of core numbers.
    #[error("{0:?} is not a list of cores; write it as 0,2-3")]
    Syntax(String),
    /// A core that is not there, or that this process may not use.
    #[error("there is no core {core} for this process; it may use {there}")]
    NoCore {
        /// The core asked for.
        core: usize,
        /// Those it may use.
        there: Cores,
    },
    /// Two workers would take turns on one core.
    #[error("core {0} is named twice; name each core once")]
    Twice(usize),
    /// The kernel does not tell.
    #[error("the kernel does not tell which cores this process may use; leave the cores out")]
    Unknown,
}

/// The cores that the calling thread may run on, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// Reads the list: what the machine has, less what a cpuset or the affinity of the caller takes away.
    ///
    /// # Errors
    /// [`CoreError::Unknown`].
    pub fn read() -> Result<Self, CoreError> {
        let mut ids: Vec<usize> = core_affinity::get_core_ids()
            .into_iter()
            .flatten()
            .map(|core| core.id)
            .collect();
        ids.sort_unstable();
        if ids.is_empty() {
            Err(CoreError::Unknown)
        } else {
            Ok(Self(ids))
        }
    }

    /// All of them, in rising order.
    pub fn all(&self) -> Vec<CoreId> {
        self.0.iter().copied().map(CoreId).collect()
    }

    /// One core by its number.
    ///
    /// # Errors
    /// [`CoreError::NoCore`], which names those there are.
    pub fn get(&self, core: usize) -> Result<CoreId, CoreError> {
        match self.0.binary_search(&core) {
            Ok(_) => Ok(CoreId(core)),
            Err(_) => Err(CoreError::NoCore {
                core,
                there: self.clone(),
            }),
        }
    }

    /// A list as in `0,2-3`, in the order given.
    ///
    /// # Errors
    /// [`CoreError`]: not a list, a core that is not there, or one named twice.
    pub fn parse(&self, list: &str) -> Result<Vec<CoreId>, CoreError> {
        let mut cores = Vec::new();
        for part in list.split(',') {
            let range = range(part).ok_or_else(|| CoreError::Syntax(list.to_owned()))?;
            // The end first: a range without bounds is refused before it is walked.
            self.get(*range.end())?;
            for core in range {
                let core = self.get(core)?;
                if cores.contains(&core) {
                    return Err(CoreError::Twice(core.0));
                }
                cores.push(core);
            }
        }
        Ok(cores)
    }
}

impl fmt::Display for Cores {
    /// Shortest form: `0-3,8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        for (at, run) in runs.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [only] => write!(f, "{comma}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

/// `3` or `2-5`.
fn range(text: &str) -> Option<RangeInclusive<usize>> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<usize>().ok())?
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Cores {
        Cores(vec![0, 1, 2, 3, 8])
    }

    #[test]
    fn lists_and_ranges_keep_their_order() {
        let numbers = |list: &str| -> Vec<usize> {
            let cores = machine().parse(list).unwrap();
            cores.into_iter().map(CoreId::number).collect()
        };
        assert_eq!(numbers("0"), [0]);
        assert_eq!(numbers("8,0,2-3"), [8, 0, 2, 3]);
        assert_eq!(numbers(" 1 , 2 - 3"), [1, 2, 3]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in [
            "",
            ",",
            "0,",
            "a",
            "-1",
            "3-2",
            "0-",
            "+1",
            "0x1",
            "99999999999999999999999",
        ] {
            assert_eq!(machine().parse(list), Err(CoreError::Syntax(list.to_owned())));
        }
    }

    #[test]
    fn a_missing_core_is_named_with_those_there_are() {
        for (list, core) in [
            ("4", 4),
            ("2-4", 4),
            ("3-8", 4),
            ("0-18446744073709551615", usize::MAX),
        ] {
            let error = machine().parse(list).unwrap_err();
            let there = machine();
            assert_eq!(error, CoreError::NoCore { core, there }, "{list}");
            assert!(error.to_string().ends_with("it may use 0-3,8"), "{error}");
        }
        assert_eq!(machine().parse("0-2,1"), Err(CoreError::Twice(1)));
    }

    #[test]
    fn this_machine_has_cores() {
        let cores = Cores::read().unwrap();
        assert_eq!(cores.parse(&cores.to_string()).unwrap(), cores.all());
    }
}
