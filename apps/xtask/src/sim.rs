//! `cargo xtask sim`: plans of faults, run by `apps/simulate`.

use crate::cmd;
use crate::paths::Paths;
use crate::program;
use crate::test::Outcome;
use anyhow::Result;
use std::process::Command;

/// What `cargo xtask sim` takes.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
}

impl SimArgs {
    /// What every change is tested with.
    pub const CI: Self = Self {
        seeds: 10_000,
        from: 0,
    };
}

/// Runs them; `false` when one failed.
pub fn run(paths: &Paths, args: &SimArgs) -> Result<bool> {
    Ok(!matches!(plans(paths, args)?, Outcome::Failed(_)))
}

/// The same, as a step of the tests: built as they are, with debug assertions.
pub fn plans(paths: &Paths, args: &SimArgs) -> Result<Outcome> {
    let (seeds, from) = (args.seeds.to_string(), args.from.to_string());
    let mut command = Command::new(program::SIMULATE.build(paths)?);
    command.args(["--seeds", &seeds, "--from", &from]);
    cmd::run(command.current_dir(&paths.root))?;
    Ok(Outcome::Passed(format!("{seeds} plans")))
}
