//! Results of steps, and the table of them.

use crate::host::Missing;
use anyhow::Result;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug)]
pub enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Results so far.
#[derive(Default)]
pub struct Tally {
    rows: Vec<(String, Outcome, Duration)>,
}

impl Tally {
    /// Does a step on this thread.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        println!("==> {name}");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(outcome_of);
        self.end(name, outcome, start.elapsed());
    }

    /// Tells how one ended.
    pub fn end(&mut self, name: &str, outcome: Outcome, time: Duration) {
        match &outcome {
            Outcome::Passed(_) => println!("PASSED {name}"),
            Outcome::Failed(why) => println!("FAILED {name}: {why}"),
            Outcome::Skipped(why) => println!("SKIPPED {name}: {why}"),
        }
        self.rows.push((name.to_owned(), outcome, time));
    }

    /// Prints the table; whether nothing failed.
    pub fn print(&self) -> bool {
        println!("\n{:<24} {:<8} {:>8}", "step", "result", "seconds");
        let mut counts = [0; 3];
        for (name, outcome, time) in &self.rows {
            let (index, word, text) = match outcome {
                Outcome::Passed(text) => (0, "passed", text),
                Outcome::Failed(text) => (1, "FAILED", text),
                Outcome::Skipped(text) => (2, "skipped", text),
            };
            counts[index] += 1;
            // The whole text is above; a table wants short lines.
            let first: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
            println!("{name:<24} {word:<8} {:>8.1}  {first}", time.as_secs_f64());
        }
        println!(
            "{} passed, {} failed, {} skipped",
            counts[0], counts[1], counts[2]
        );
        counts[1] == 0
    }
}

/// What the machine lacks is no failure.
pub fn outcome_of(error: anyhow::Error) -> Outcome {
    match error.downcast::<Missing>() {
        Ok(missing) => Outcome::Skipped(missing.to_string()),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}
