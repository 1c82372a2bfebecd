use std::fmt;
use std::str::FromStr;

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Send what is received, without looking at it.
    Io,
    /// Send what is received with other addresses (see [`crate::Settings::addresses`]).
    Mac,
    /// Send what is received with its two addresses swapped.
    MacSwap,
    /// Receive and free.
    RxOnly,
    /// Make UDP frames and send them.
    TxOnly,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Io, Self::Mac, Self::MacSwap, Self::RxOnly, Self::TxOnly];

    /// Its name: `io`, `mac`, `macswap`, `rxonly` or `txonly`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Mac => "mac",
            Self::MacSwap => "macswap",
            Self::RxOnly => "rxonly",
            Self::TxOnly => "txonly",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no forwarding mode; there are io, mac, macswap, rxonly and txonly")]
pub struct UnknownMode(pub String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let known = Self::ALL.into_iter().find(|mode| mode.name() == text);
        known.ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_modes() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let wrong = "IO".parse::<Mode>().unwrap_err();
        assert!(wrong.to_string().contains("macswap"), "{wrong}");
    }
}
