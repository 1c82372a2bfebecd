//! How fast: packets, bits on the wire or in frames, or a share of the line.

use crate::error::{Result, TrafficError};
use crate::size::GAP;
use std::fmt;
use std::str::FromStr;

/// A rate as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as it goes, or as the line lets it.
    Max,
    /// Packets a second.
    Packets(f64),
    /// Bits of frames a second, FCS among them: layer 2.
    Frames(f64),
    /// Bits on the wire a second, with preamble and gap: layer 1.
    Wire(f64),
    /// Per cent of the line.
    Percent(f64),
}

/// What a packet costs in time: so many nanoseconds, and so many for each bit of its frame with FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// For a packet, whatever its length.
    pub packet: f64,
    /// For each bit.
    pub bit: f64,
}

impl Cost {
    /// As fast as it goes.
    pub const NONE: Self = Self {
        packet: 0.0,
        bit: 0.0,
    };

    /// Nanoseconds for a frame of `len` bytes with FCS.
    pub fn of(self, len: f64) -> f64 {
        self.packet + self.bit * len * 8.0
    }
}

impl Rate {
    /// The cost at this rate on a line of `speed` Mbit/s (0: not known) for frames of `mean` bytes with FCS.
    ///
    /// # Errors
    /// A rate that the line does not have, and the greatest that it has.
    pub fn cost(self, speed: u32, mean: f64) -> Result<Cost> {
        let line = f64::from(speed) * 1e6;
        let wire = |bits: f64| Cost {
            packet: GAP as f64 * 8.0 * 1e9 / bits,
            bit: 1e9 / bits,
        };
        let most = Self::most(speed, mean);
        let cost = match self {
            Self::Max if speed == 0 => return Ok(Cost::NONE),
            Self::Max => wire(line),
            Self::Packets(rate) => Cost {
                packet: 1e9 / rate,
                bit: 0.0,
            },
            Self::Frames(bits) => Cost {
                packet: 0.0,
                bit: 1e9 / bits,
            },
            Self::Wire(bits) => wire(bits),
            Self::Percent(_) if speed == 0 => {
                return Err(TrafficError::wrong(format!(
                    "--rate {self}: the line's speed is not known; write a rate as in 100kpps or 1Gbps"
                )));
            }
            Self::Percent(share) => wire(line * share / 100.0),
        };
        // A rate that is the line's to the last digit is not above it.
        if speed > 0 && cost.of(mean) < wire(line).of(mean) * (1.0 - 1e-9) {
            return Err(TrafficError::wrong(format!(
                "--rate {self} is more than the line takes: {speed} Mbit/s are {:.0} packets/s of {mean:.0} bytes; write --rate 100% or less",
                most
            )));
        }
        Ok(cost)
    }

    /// So many times as fast; as fast as it goes stays that.
    pub fn times(self, by: f64) -> Self {
        match self {
            Self::Max => Self::Max,
            Self::Packets(rate) => Self::Packets(rate * by),
            Self::Frames(bits) => Self::Frames(bits * by),
            Self::Wire(bits) => Self::Wire(bits * by),
            Self::Percent(share) => Self::Percent(share * by),
        }
    }

    /// Packets a second that a line of `speed` Mbit/s takes at the most; infinite where the speed is not known.
    pub fn most(speed: u32, mean: f64) -> f64 {
        match speed {
            0 => f64::INFINITY,
            speed => f64::from(speed) * 1e6 / ((mean + GAP as f64) * 8.0),
        }
    }
}

impl FromStr for Rate {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Self> {
        const FORMS: &str = "write max, 50%, 100kpps, 1.2Mpps, 1Gbps (of frames) or 1Gbps-l1 (on the wire)";
        let wrong = || TrafficError::wrong(format!("rate {text}: {FORMS}"));
        let text = text.trim();
        if text == "max" {
            return Ok(Self::Max);
        }
        let unit = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (scale, unit) = match unit.as_bytes().first() {
            Some(b'k' | b'K') => (1e3, &unit[1..]),
            Some(b'M') => (1e6, &unit[1..]),
            Some(b'G') => (1e9, &unit[1..]),
            _ => (1.0, unit),
        };
        let value = number * scale;
        if !(1e-3..1e15).contains(&value) {
            return Err(wrong());
        }
        match unit {
            "%" if scale == 1.0 => Ok(Self::Percent(value)),
            "pps" => Ok(Self::Packets(value)),
            "bps" | "bps-l2" => Ok(Self::Frames(value)),
            "bps-l1" => Ok(Self::Wire(value)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |value: f64| match value {
            1e9.. => format!("{}G", value / 1e9),
            1e6.. => format!("{}M", value / 1e6),
            1e3.. => format!("{}k", value / 1e3),
            _ => value.to_string(),
        };
        match self {
            Self::Max => f.write_str("max"),
            Self::Percent(share) => write!(f, "{share}%"),
            Self::Packets(rate) => write!(f, "{}pps", scaled(*rate)),
            Self::Frames(bits) => write!(f, "{}bps", scaled(*bits)),
            Self::Wire(bits) => write!(f, "{}bps-l1", scaled(*bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["max", "50%", "100kpps", "1.2Mpps", "1Gbps", "2.5Gbps-l1", "7pps"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in [
            "", "5", "pps", "1mpps", "-1pps", "0pps", "1k%", "nanpps", "1e3pps",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_line_is_14_88_mpps_at_10_gigabit_and_64_bytes() {
        let cost = |text: &str| text.parse::<Rate>().unwrap().cost(10_000, 64.0);
        for text in ["max", "100%", "10Gbps-l1", "14880952.38pps"] {
            assert!((cost(text).unwrap().of(64.0) - 67.2).abs() < 1e-6, "{text}");
        }
        // 64 of 84 bytes are frame.
        assert!((cost("7.619Gbps").unwrap().of(64.0) - 67.2).abs() < 0.01);
        for text in ["100.1%", "14.9Mpps", "7.62Gbps", "10.01Gbps-l1"] {
            let error = cost(text).unwrap_err().to_string();
            assert!(error.contains("more than the line takes"), "{text}");
        }
        assert!(Rate::Percent(50.0).cost(0, 64.0).is_err());
        assert_eq!(Rate::Max.cost(0, 64.0).unwrap(), Cost::NONE);
        assert!((Rate::most(10_000, 128.0) - 8_445_945.9).abs() < 0.1);
    }
}
