//! What a guest that has gone silent is doing: its processors, the tasks of its kernel, and QEMU's threads.

use super::monitor::Monitor;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the monitor is asked; twice, to see what moves. The ports are the interrupt enable and line status registers of
/// the channel's and of the console's serial port.
const QUESTIONS: &[&str] = &[
    "info status",
    "info registers -a",
    "info lapic 0",
    "info lapic 1",
    "info pic",
    "i/b 0x2f9",
    "i/b 0x2fd",
    "i/b 0x3f9",
    "i/b 0x3fd",
];
/// Letters of the kernel's emergency key (admin-guide/sysrq): print everything, backtraces of running processors, all
/// tasks, timers; and no longer everything.
const KEYS: [char; 5] = ['9', 'l', 't', 'q', '5'];
/// Between two looks.
const BETWEEN: Duration = Duration::from_secs(1);
/// The kernel's answers to the emergency key go over an emulated serial port.
const PRINTING: Duration = Duration::from_secs(20);

/// Faults in what is added to the console while evidence is taken that are none.
pub const ADDED: &str = "Call Trace:";

/// Everything that can be learnt from outside, and from the kernel inside if it still takes keys. What cannot be had
/// is named in its place.
pub fn collect(monitor: &Path, qemu: u32, console: &Path) -> String {
    let mut text = String::new();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let _ = writeln!(text, "=== host: load {}", load.trim());
    for round in 0..2 {
        let _ = writeln!(
            text,
            "=== threads of QEMU (name, state, ticks in user and kernel mode, waits in), look {round}"
        );
        text.push_str(&threads(qemu));
        if let Err(error) = ask(monitor, &mut text) {
            let _ = writeln!(text, "--- {error:#}");
        }
        sleep(BETWEEN);
    }
    let _ = writeln!(text, "=== the kernel's own answer to its emergency key");
    match press(monitor, console) {
        Ok(printed) => text.push_str(&printed),
        Err(error) => {
            let _ = writeln!(text, "--- {error:#}");
        }
    }
    text
}

fn ask(monitor: &Path, text: &mut String) -> Result<()> {
    let mut monitor = Monitor::connect(monitor)?;
    for question in QUESTIONS {
        let _ = writeln!(text, "--- {question}\n{}", monitor.human(question)?);
    }
    Ok(())
}

/// A line a thread of a process (proc_pid_stat(5)).
fn threads(pid: u32) -> String {
    let mut text = String::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return "--- the process is gone\n".to_owned();
    };
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        // The name is in parentheses and may hold blanks.
        let (name, rest) = stat.rsplit_once(") ").unwrap_or(("", ""));
        let field: Vec<&str> = rest.split_whitespace().collect();
        let at = |index: usize| field.get(index).copied().unwrap_or("?");
        let _ = writeln!(
            text,
            "{}) {} {} {} {}",
            name,
            at(0),
            at(11),
            at(12),
            read("wchan").trim()
        );
    }
    text
}

/// Presses the emergency key and returns what that adds to the console.
fn press(monitor: &Path, console: &Path) -> Result<String> {
    let mut monitor = Monitor::connect(monitor)?;
    let length = || fs::metadata(console).map_or(0, |meta| meta.len() as usize);
    let before = length();
    for key in KEYS {
        monitor.human(&format!("sendkey alt-sysrq-{key}"))?;
        // Until nothing more comes: a key while the kernel prints would be lost.
        let (start, mut last) = (Instant::now(), usize::MAX);
        while length() != last && start.elapsed() < PRINTING {
            last = length();
            sleep(BETWEEN);
        }
    }
    let bytes = fs::read(console).context("the console cannot be read")?;
    let added = String::from_utf8_lossy(bytes.get(before..).unwrap_or_default()).into_owned();
    if added.trim().is_empty() {
        return Ok("--- nothing: the kernel takes no interrupts, or has not started\n".to_owned());
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_process_are_listed() {
        let text = threads(std::process::id());
        let own = text
            .lines()
            .find(|line| line.contains(") R "))
            .expect("this thread runs");
        assert_eq!(own.rsplit_once(") ").expect("a name").1.split(' ').count(), 4);
        assert!(threads(u32::MAX).contains("gone"));
    }

    #[test]
    fn without_a_monitor_the_cause_stands_in_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = collect(
            &dir.path().join("none"),
            std::process::id(),
            &dir.path().join("log"),
        );
        assert!(text.contains("cannot connect to QEMU's monitor"), "{text}");
    }
}
