//! A program that polls in windows: started apart from everything else, talked to line by line, watched.

use super::Interrupt;
use crate::cmd;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time for a program to get ready or to answer, beyond its window.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program. It is killed when this goes away, and by the kernel when this process does.
#[derive(Debug)]
pub struct Program {
    line: String,
    log: PathBuf,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    interrupt: Interrupt,
}

impl Program {
    /// Starts it in a session of its own, which gives it a scheduling group of its own. Its messages go to `log`.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: &[S],
        environment: &[(&str, PathBuf)],
        log: &Path,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let messages = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "setsid"])
            .arg(program)
            .args(args);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages);
        let line = cmd::show(&command);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let stdin = child.stdin.take().context("the program has no input")?;
        let stdout = child.stdout.take().context("the program has no output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            line,
            log: log.to_path_buf(),
            child,
            stdin,
            lines,
            interrupt: interrupt.clone(),
        })
    }

    /// Lets it go before everything else that wants its cores. Without it (no autogroups, no rights) windows are
    /// disturbed more often, and discarded for it.
    pub fn prefer(&self) {
        fs::write(format!("/proc/{}/autogroup", self.child.id()), "-20").ok();
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let said = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        said.with_context(|| format!("`{}` does not listen: {}", self.line, self.complaint()))
    }

    /// Waits for the first line that is wanted.
    pub fn hear<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.interrupt.check()?;
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => bail!("`{}` does not answer", self.line),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("`{}` ended early: {}", self.line, self.complaint())
                }
            }
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its messages.
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(5);
        lines[from..].join("; ")
    }

    /// Stops all its threads where they are.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("cannot send {signal} to `{}`", self.line))
    }

    /// What the scheduler has on its threads.
    pub fn times(&self) -> Times {
        let mut times = Vec::new();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        for task in tasks.into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
            if let (Some(ran), Some(waited)) = (numbers.next(), numbers.next()) {
                times.push(Time {
                    task: task.file_name().to_string_lossy().into_owned(),
                    ran,
                    waited,
                });
            }
        }
        Times(times)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Nanoseconds that a thread ran, and that it wanted to run but had to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Time {
    task: String,
    ran: u64,
    waited: u64,
}

/// The times of all threads of a program at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(Vec<Time>);

impl Times {
    /// The share of a window's time that was taken away from the pollers since `before`: from the one that lost
    /// most. A poller is a thread that ran for a fifth of the window or longer; without any, all was taken.
    pub fn stolen_since(&self, before: &Self, window: Duration) -> f64 {
        let mut worst: Option<f64> = None;
        for now in &self.0 {
            let earlier = before.0.iter().find(|time| time.task == now.task);
            let (ran, waited) = earlier.map_or((0, 0), |time| (time.ran, time.waited));
            let (ran, waited) = (now.ran.saturating_sub(ran), now.waited.saturating_sub(waited));
            if u128::from(ran) * 5 >= window.as_nanos() {
                let share = waited as f64 / (ran + waited) as f64;
                worst = Some(worst.map_or(share, |other| other.max(share)));
            }
        }
        worst.unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(of: &[(&str, u64, u64)]) -> Times {
        let time = |(task, ran, waited): &(&str, u64, u64)| Time {
            task: (*task).to_owned(),
            ran: *ran,
            waited: *waited,
        };
        Times(of.iter().map(time).collect())
    }

    #[test]
    fn stolen_time_is_that_of_the_poller_that_lost_most() {
        let window = Duration::from_nanos(100);
        let before = times(&[("1", 1000, 50), ("2", 0, 0)]);
        let after = times(&[("1", 1001, 90), ("2", 80, 20), ("3", 99, 1)]);
        assert!((after.stolen_since(&before, window) - 0.2).abs() < 1e-9);
        assert!((before.stolen_since(&before, window) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_program_is_talked_to_and_dies_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let log = dir.path().join("log");
        let mut cat = Program::start::<&str>(Path::new("cat"), &[], &[], &log, &interrupt).unwrap();
        cat.tell("hello").unwrap();
        assert_eq!(cat.hear(|line| Some(line.len())).unwrap(), 5);
        assert!(!cat.has_ended() && !cat.times().0.is_empty());
        let pid = cat.child.id();
        drop(cat);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
