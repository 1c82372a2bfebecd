//! QEMU's monitor, through its machine protocol (QMP: one JSON object a line).

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer takes no time; QEMU's main loop waits for nothing but, in a reset, for its processors.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the monitor of one QEMU.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the socket that QEMU listens at.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to QEMU's monitor at {}", socket.display()))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("cannot limit the time of QEMU's answers")?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.ask(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub fn human(&mut self, command: &str) -> Result<String> {
        let answer = self.ask(&json!({
            "execute": "human-monitor-command", "arguments": {"command-line": command}
        }))?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Runs a command of the human monitor that answers only when it fails.
    pub fn order(&mut self, command: &str) -> Result<()> {
        let said = self.human(command)?;
        ensure!(!said.contains("rror:"), "{command}: {said}");
        Ok(())
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{request}").context("QEMU's monitor is gone")?;
        loop {
            let mut line = String::new();
            let read = self
                .stream
                .read_line(&mut line)
                .context("QEMU's monitor does not answer")?;
            if read == 0 {
                bail!("QEMU's monitor is gone");
            }
            // The greeting and events come between.
            match parse(&line) {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(error)) => bail!("QEMU's monitor refused {request}: {error}"),
                None => {}
            }
        }
    }
}

/// The answer in a line, if it is one.
fn parse(line: &str) -> Option<Result<Value, String>> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    if let Some(error) = line.get("error") {
        return Some(Err(error.to_string()));
    }
    line.get_mut("return").map(|answer| Ok(answer.take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_what_comes_between() {
        assert_eq!(parse(r#"{"QMP": {"version": {}}}"#), None);
        assert_eq!(parse(r#"{"event": "RESUME"}"#), None);
        assert_eq!(parse(r#"{"return": "a\n"}"#), Some(Ok(json!("a\n"))));
        assert!(matches!(parse(r#"{"error": {"desc": "no"}}"#), Some(Err(text)) if text.contains("no")));
        assert_eq!(parse("no JSON"), None);
    }
}
