//! What packets of TCP look like on an interface: how long, and whether their checksums stand in them.

use super::qemu::Check;
use crate::netns::world::Namespace;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::process::{Child, Stdio};

/// Packets that are looked at: what is said of them fits into a pipe.
const PACKETS: u32 = 100;
/// Bytes of IPv4 that a frame of the usual MTU has.
const MTU: u32 = 1500;

/// How packets are to cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Cut and summed up.
    Whole,
    /// Cut; whoever takes them completes their checksums.
    Open,
    /// Neither.
    Long,
}

impl Shape {
    /// l2fwd's arguments under which its ports ask for that.
    pub fn arguments(self) -> &'static str {
        match self {
            Self::Whole => "--offloads off",
            Self::Open => "--offloads checksum",
            Self::Long => "--offloads on",
        }
    }
}

/// A capture under way; it ends when it has seen enough, or when this goes away.
pub struct Capture(Child);

impl Capture {
    /// Of packets with data from an address, on an interface.
    pub fn start(space: &Namespace, interface: &str, from: &str) -> Result<Self> {
        Self::of(
            space,
            interface,
            &format!("tcp and src host {from} and ip[2:2] > 1000"),
        )
    }

    /// Of frames that a filter lets through.
    pub fn of(space: &Namespace, interface: &str, filter: &str) -> Result<Self> {
        let mut command = space.command("tcpdump");
        // Unbuffered, unresolved, as root: another user may not read the interface's files.
        command.args(["-l", "-nn", "-v", "-Z", "root", "-i", interface]);
        command.args(["-c", &PACKETS.to_string(), filter]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.stderr(Stdio::null()).spawn();
        Ok(Self(child.context("cannot start tcpdump")?))
    }

    /// What it has to say; call it when enough have come by.
    pub fn text(mut self) -> Result<String> {
        // It has ended already, or there were too few.
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).context("tcpdump is gone")?;
        let mut output = self.0.stdout.take().context("tcpdump has no output")?;
        let mut text = String::new();
        output.read_to_string(&mut text).context("tcpdump's output")?;
        Ok(text)
    }

    /// Whether they were as they are to be.
    pub fn check(self, name: String, shape: Shape) -> Result<Check> {
        Ok(Seen::read(&self.text()?).check(name, shape))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Counts of packets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    all: u32,
    open: u32,
    long: u32,
}

impl Seen {
    /// Reads `tcpdump -v`: two lines a packet, the length of IPv4's in the first, a verdict on TCP's checksum in the second.
    fn read(text: &str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            let length = line
                .rsplit_once(", length ")
                .map(|(_, rest)| rest.trim_end_matches(')'));
            if line.contains("proto TCP") {
                seen.all += 1;
                seen.long += u32::from(length.and_then(|text| text.parse().ok()) > Some(MTU));
            }
            seen.open += u32::from(line.contains("(incorrect"));
        }
        seen
    }

    fn check(&self, name: String, shape: Shape) -> Check {
        let Self { all, open, long } = *self;
        // Some of a stream's packets are short in any case.
        let good = match shape {
            Shape::Whole => long == 0 && open == 0,
            Shape::Open => long == 0 && open > all / 2,
            Shape::Long => long > all / 4 && open > all / 2,
        };
        let text = format!("{all} packets, {long} longer than the MTU, {open} with an open checksum");
        Check::new(name, good && all >= PACKETS / 4, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_says_how_packets_were() {
        let packet = |length: u32, sum: &str| {
            format!(
                "04:00:00.1 IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length {length})\n    \
                 10.7.0.1.4 > 10.7.0.2.5201: Flags [.], cksum 0x1b2c ({sum}), seq 1:9, ack 1, win 5, length {}\n",
                length - 40
            )
        };
        let seen = |length, sum| Seen::read(&packet(length, sum).repeat(100));
        let good = |seen: &Seen, shape| seen.check(String::new(), shape).ok;
        let open = "incorrect -> 0x77aa";
        let all = [
            (seen(1500, "correct"), Shape::Whole),
            (seen(1500, open), Shape::Open),
            (seen(41_000, open), Shape::Long),
        ];
        for (seen, shape) in &all {
            assert_eq!(seen.all, 100);
            for (_, other) in &all {
                assert_eq!(good(seen, *other), shape == other, "{seen:?} as {other:?}");
            }
        }
        assert!(!good(&Seen::default(), Shape::Whole), "nothing was seen");
    }
}
