use super::said;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

/// Longest wait for a line of ours, or for a socket. While frames come back, ours says so all the time.
const LIMIT: Duration = Duration::from_secs(120);
/// How such a line begins.
const SO_FAR: &str = "so far";

/// A program of one of the two sides; killed when it is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command, name: &str) -> Result<Self> {
        Ok(Self(
            command.spawn().with_context(|| format!("cannot start {name}"))?,
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself, or this ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our side, and the lines that it prints.
pub struct Ours {
    program: Running,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Ours {
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).context("cannot make a log")?);
        let mut program = Running::start(&mut command, "reflect")?;
        let output = program.0.stdout.take().context("reflect has no output")?;
        let (to, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        Ok(Self { program, lines, log })
    }

    /// What it has to say about a failure.
    pub fn complaint(&self) -> String {
        said(&self.log)
    }

    /// Waits for a line with these words.
    pub fn line(&self, words: &str) -> Result<()> {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(words) => return Ok(()),
                Ok(_) => {}
                Err(_) => bail!("reflect does not say {words:?}: {}", self.complaint()),
            }
        }
    }

    /// It is still at work, with the peer that it has: it ends with the first frame that is wrong, and says when the peer goes.
    pub fn is_well(&self) -> Result<()> {
        loop {
            match self.lines.try_recv() {
                Ok(line) if line.starts_with(SO_FAR) => {}
                Err(TryRecvError::Empty) => return Ok(()),
                Ok(line) => bail!("reflect says {line:?}: {}", self.complaint()),
                Err(TryRecvError::Disconnected) => bail!("reflect has ended: {}", self.complaint()),
            }
        }
    }

    pub fn end(mut self) -> Result<()> {
        self.line("whole and in order")?;
        let status = self.program.0.wait()?;
        if !status.success() {
            bail!("reflect ended with {status}: {}", self.complaint());
        }
        Ok(())
    }
}

/// Waits until it is there.
pub fn await_file(path: &Path, complaint: impl Fn() -> String) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(10);
    for _ in 0..LIMIT.as_millis() / LOOK.as_millis() {
        if path.exists() {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    bail!("{} does not appear: {}", path.display(), complaint())
}
