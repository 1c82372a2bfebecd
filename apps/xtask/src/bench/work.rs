//! How much of its time an end of a socket works: bursts that moved something, by the time-stamp counter. testpmd records
//! them itself (`--record-core-cycles`), our end answers each line that it is told.

use super::program::Program;
use anyhow::Result;
use serde_json::Value;

/// Cycles and packets of some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Worked {
    cycles: u64,
    packets: u64,
    /// Millions of cycles a second, where it is told.
    megahertz: u64,
}

impl Worked {
    /// From then to now.
    pub fn since(self, before: Self) -> Self {
        Self {
            cycles: self.cycles.saturating_sub(before.cycles),
            packets: self.packets.saturating_sub(before.packets),
            ..self
        }
    }

    /// Cycles a packet, if there was one.
    pub fn a_packet(self) -> Option<f64> {
        (self.packets > 0).then(|| self.cycles as f64 / self.packets as f64)
    }

    /// Cycles a nanosecond.
    pub fn ghz(self) -> f64 {
        self.megahertz as f64 / 1e3
    }
}

/// Lets testpmd count from now on.
pub fn begin(testpmd: &mut Program) -> Result<()> {
    testpmd.tell("clear fwd stats all")
}

/// What testpmd has worked since [`begin`].
pub fn of_testpmd(testpmd: &mut Program) -> Result<Worked> {
    testpmd.tell("show fwd stats all")?;
    testpmd.hear(recorded)
}

/// `CPU cycles/packet=71.20 (total cycles=712 / total RX packets=10) at 2596 MHz Clock`
fn recorded(line: &str) -> Option<Worked> {
    let (_, rest) = line.split_once("CPU cycles/packet=")?;
    let (_, rest) = rest.split_once("total cycles=")?;
    let (cycles, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once("packets=")?;
    let (packets, rest) = rest.split_once(") at ")?;
    let (megahertz, _) = rest.split_once(' ')?;
    Some(Worked {
        cycles: cycles.parse().ok()?,
        packets: packets.parse().ok()?,
        megahertz: megahertz.parse().ok()?,
    })
}

/// What our end has worked since it began.
pub fn ours(port: &mut Program) -> Result<Worked> {
    port.tell("worked")?;
    port.hear(|line| {
        let answer: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| answer.get(name)?.as_u64();
        Some(Worked {
            cycles: number("cycles")?,
            packets: number("packets")?,
            megahertz: 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Interrupt;
    use std::path::Path;

    #[test]
    fn what_testpmd_recorded_is_found_in_its_words() {
        let line = "  CPU cycles/packet=71.20 (total cycles=712 / total RX packets=10) at 2596 MHz Clock";
        let worked = recorded(line).unwrap();
        assert_eq!((worked.a_packet(), worked.ghz()), (Some(71.2), 2.596));
        for other in [
            "CPU cycles/packet=",
            "",
            "  RX-packets: 10",
            "CPU cycles/packet=1 (total cycles=x / total RX packets=1) at 1 MHz",
        ] {
            assert_eq!(recorded(other), None, "{other}");
        }
    }

    #[test]
    fn our_end_answers_with_all_so_far() {
        let dir = tempfile::tempdir().unwrap();
        let script = "n=0; while read -r line; do n=$((n + 1)); echo talk; echo \"{\\\"cycles\\\":$((n * 700)),\\\"packets\\\":$((n * 10))}\"; done";
        let log = dir.path().join("log");
        let mut port =
            Program::start(Path::new("sh"), &["-c", script], &[], &log, &Interrupt::default()).unwrap();
        let before = ours(&mut port).unwrap();
        assert_eq!(ours(&mut port).unwrap().since(before).a_packet(), Some(70.0));
        assert_eq!(before.since(before).a_packet(), None);
    }
}
