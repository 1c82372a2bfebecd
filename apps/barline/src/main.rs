//! What this machine has for barline: `barline --help`.
#![forbid(unsafe_code)]

mod machine;
mod ports;
mod print;

use clap::{Parser, Subcommand};
use machine::Machine;
use std::process::ExitCode;

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 the machine lacks something.";

/// What this machine has for barline's ports, and how each is opened.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what could be a port: the name that opens it, or what is missing for that.
    #[command(after_help = barline_drivers::help())]
    Ports {
        /// Print one JSON object a line, the last one a summary
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let Command::Ports { json } = Cli::parse().command;
    let rows = match ports::list(&Machine::this()) {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("barline: the machine cannot be looked at: {error}");
            return ExitCode::from(1);
        }
    };
    match print::rows(&rows, json, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("barline: {error}");
            ExitCode::from(1)
        }
    }
}
