//! Reads port counters of a running DPDK program through its telemetry socket.

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

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

    /// Where a program listens that has this run-time directory and the file prefix `peer`.
    pub fn socket(runtime: &Path) -> PathBuf {
        runtime.join("dpdk/peer/dpdk_telemetry.v2")
    }

    /// Whether a port's link is up.
    pub fn is_link_up(&self, port: u16) -> Result<bool> {
        let answer = self.ask(&format!("/ethdev/link_status,{port}"))?;
        Ok(answer["/ethdev/link_status"]["status"] == "UP")
    }

    /// The sum over the first ports.
    pub fn packets(&self, ports: u16) -> Result<Packets> {
        let mut all = Packets::default();
        for port in 0..ports {
            let answer = self.ask(&format!("/ethdev/stats,{port}"))?;
            let of = parse(&answer).with_context(|| format!("port {port} answers {answer}"))?;
            all.received += of.received;
            all.sent += of.sent;
        }
        Ok(all)
    }

    fn ask(&self, question: &str) -> Result<Value> {
        send(self.0.as_raw_fd(), question.as_bytes(), MsgFlags::MSG_NOSIGNAL)
            .context("the program does not take questions any more")?;
        self.receive()
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
