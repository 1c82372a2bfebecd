//! Reads port counters of a running DPDK program through its telemetry socket.

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The longest answer, as DPDK announces it.
const ANSWER: usize = 16384;

/// A connection.
#[derive(Debug)]
pub struct Telemetry(OwnedFd);

/// What a port has received and sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packets {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Telemetry {
    /// Connects; an error as long as the program does not listen yet.
    pub fn connect(path: &Path) -> Result<Self> {
        let kind = (AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let fd = socket(kind.0, kind.1, kind.2, None).context("cannot make a socket")?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).context("cannot set a limit")?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        let telemetry = Self(fd);
        telemetry.receive()?; // it greets with its version
        Ok(telemetry)
    }

    /// The sum over the first two ports.
    pub fn packets(&self) -> Result<Packets> {
        let mut all = Packets::default();
        for port in 0..2 {
            let question = format!("/ethdev/stats,{port}");
            send(self.0.as_raw_fd(), question.as_bytes(), MsgFlags::MSG_NOSIGNAL)
                .context("the program does not take questions any more")?;
            let answer = self.receive()?;
            let of = parse(&answer).with_context(|| format!("port {port} answers {answer}"))?;
            all.received += of.received;
            all.sent += of.sent;
        }
        Ok(all)
    }

    fn receive(&self) -> Result<Value> {
        let mut bytes = vec![0; ANSWER];
        let n = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty())
            .context("no answer of DPDK's telemetry")?;
        serde_json::from_slice(&bytes[..n]).context("DPDK's telemetry does not speak JSON")
    }
}

fn parse(answer: &Value) -> Option<Packets> {
    let stats = answer.get("/ethdev/stats")?;
    Some(Packets {
        received: stats.get("ipackets")?.as_u64()?,
        sent: stats.get("opackets")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_an_answer() {
        let answer = serde_json::json!({"/ethdev/stats": {"ipackets": 3, "opackets": 2, "ibytes": 0}});
        assert_eq!(parse(&answer), Some(Packets { received: 3, sent: 2 }));
        assert_eq!(parse(&serde_json::json!({"/ethdev/stats": null})), None);
    }
}
