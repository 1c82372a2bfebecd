//! A guest at work: what it says, what it is told, and how it ended.

use super::Check;
use crate::vm::console;
use crate::vm::evidence;
use crate::vm::monitor::Monitor;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Most times that evidence of a silent guest is taken.
const SILENCES: u32 = 2;

/// A guest at work; it is killed when this goes away.
pub struct Running {
    pub(super) child: Child,
    pub(super) stdin: ChildStdin,
    pub(super) lines: Receiver<String>,
    pub(super) deadline: Instant,
    pub(super) limit: Duration,
    pub(super) silence: Duration,
    /// Times that evidence was taken.
    pub(super) silences: u32,
    pub(super) monitor: PathBuf,
    pub(super) _sockets: TempDir,
    pub(super) dir: PathBuf,
    pub(super) checks: Vec<Check>,
    /// Exit code that the guest announced.
    pub(super) exit: Option<i32>,
    pub(super) expected_faults: Vec<String>,
}

impl Running {
    /// Waits for a line `TAG rest` of the guest and returns the rest; results on the way are kept.
    pub fn wait_for(&mut self, tag: &str) -> Result<String> {
        Ok(self.wait_for_one(&[tag])?.1)
    }

    /// Waits for the first line with one of these tags; the tag and the rest.
    pub fn wait_for_one<'a>(&mut self, tags: &[&'a str]) -> Result<(&'a str, String)> {
        while let Some(line) = self.next_line()? {
            for tag in tags {
                let rest = line.strip_prefix(tag);
                if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
                    return Ok((tag, rest.trim().to_owned()));
                }
            }
        }
        bail!(
            "the guest ended before it said {}: {}",
            tags.join(" or "),
            self.explain()
        )
    }

    /// Says a line to the guest.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}")
            .and_then(|()| self.stdin.flush())
            .context("the guest does not listen any more")
    }

    /// From now on this silence is worth writing down what the guest does ([`Vm::silence`](super::Vm::silence)).
    pub fn suspect_after(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// A connection to QEMU's monitor. There is one at a time: drop it after use.
    pub fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.monitor)
    }

    /// The next line that is no result; `None` when the guest has ended.
    fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(self.silence)) {
                Ok(line) => {
                    if let Some(check) = Check::parse(&line) {
                        self.checks.push(check);
                    } else if let Some(code) = line.strip_prefix("EXIT ") {
                        self.exit = code.parse().ok();
                    } else {
                        return Ok(Some(line));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if self.silences < SILENCES => self.note_silence()?,
                Err(RecvTimeoutError::Timeout) if left > self.silence => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "the guest took longer than {} s: {}",
                        self.limit.as_secs(),
                        self.explain()
                    )
                }
            }
        }
    }

    /// Writes down what the silent guest is doing.
    fn note_silence(&mut self) -> Result<()> {
        self.silences += 1;
        let path = self.dir.join(format!("silent-{}.txt", self.silences));
        let console = self.dir.join("console.log");
        fs::write(&path, evidence::collect(&self.monitor, self.child.id(), &console))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.expected_faults.push(evidence::ADDED.to_owned());
        println!(
            "    no line of the guest for {} s: what it does is in {}",
            self.silence.as_secs(),
            path.display()
        );
        Ok(())
    }

    /// Waits for the end of the guest. Its exit code and its console become results too.
    pub fn finish(mut self) -> Result<Vec<Check>> {
        while self.next_line()?.is_some() {}
        let status = self.child.wait().context("cannot wait for QEMU")?;
        let mut checks = std::mem::take(&mut self.checks);
        checks.push(exit_check(status, self.exit, &self.dir));
        checks.push(console::check(
            &self.dir.join("console.log"),
            &self.expected_faults,
        ));
        Ok(checks)
    }

    /// Ends QEMU, whose guest is elsewhere now: what it said until then, and its console.
    pub fn leave(mut self) -> Vec<Check> {
        let mut checks = std::mem::take(&mut self.checks);
        checks.push(console::check(
            &self.dir.join("console.log"),
            &self.expected_faults,
        ));
        checks
    }

    /// Results so far and the end of the console, for an error message.
    fn explain(&self) -> String {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|c| !c.ok)
            .map(|c| format!("{}: {}", c.name, c.text))
            .collect();
        let mut text = if failed.is_empty() {
            String::new()
        } else {
            format!("failed before: {}; ", failed.join("; "))
        };
        let faults = console::check(&self.dir.join("console.log"), &self.expected_faults);
        if !faults.ok {
            text.push_str(&format!("kernel faults:\n{}\n", faults.text));
        }
        for log in ["qemu.log", "console.log"] {
            let tail = console::tail(&self.dir.join(log), 15);
            if !tail.is_empty() {
                text.push_str(&format!("end of {}:\n{tail}\n", self.dir.join(log).display()));
            }
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when QEMU has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The guest's exit code r makes QEMU exit with 2r+1; an even code is QEMU's own end (reset, power-off).
fn exit_check(status: ExitStatus, announced: Option<i32>, dir: &Path) -> Check {
    let text = match (status.code(), announced) {
        (Some(1), Some(0)) => return Check::new("exit", true, "0"),
        (Some(code), Some(said)) if code == 2 * said + 1 => format!("the guest script ended with {said}"),
        (Some(code), None) if code % 2 == 1 => format!("QEMU ended with {code} before the guest did"),
        (Some(code), _) => format!("the guest was reset (kernel panic?); QEMU ended with {code}"),
        (None, _) => format!("QEMU was killed: {status}"),
    };
    let tails = ["qemu.log", "console.log"]
        .map(|log| console::tail(&dir.join(log), 10))
        .join("\n");
    Check::new("exit", false, format!("{text}\n{}", tails.trim()))
}
