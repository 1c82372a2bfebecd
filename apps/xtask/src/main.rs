//! Tasks of the workspace: set up a machine, test everything, run virtual machines.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line tool talks to a person")]

mod bench;
mod cmd;
#[cfg(test)]
mod docs;
mod fuzz;
mod host;
mod kmod;
mod loom;
mod netns;
mod paths;
mod program;
mod sim;
mod test;
mod testpmd;
mod vm;

use clap::{Parser, Subcommand};
use paths::Paths;
use std::io;
use std::process::ExitCode;

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 something failed, 2 wrong usage, 3 the machine lacks something.";

/// Build and test tasks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Get everything the tests need: QEMU, kernels and busybox, valgrind and its runner.
    Setup {
        /// Look for newer kernels even when there are some.
        #[arg(long)]
        update: bool,
    },
    /// Run every check and test, or those whose name contains a NAME.
    Test(test::TestArgs),
    /// Measure: rates of our own, and the same work side by side with DPDK.
    #[command(subcommand)]
    Bench(bench::BenchTask),
    /// Fuzz one target or all of them in turn, where a nightly compiler and cargo-fuzz are.
    Fuzz(fuzz::FuzzArgs),
    /// Run random plans of faults over every driver that has a model.
    Sim(sim::SimArgs),
    /// Boot a virtual machine with two joined NICs and use its shell.
    Vm(vm::VmArgs),
    /// Count guest instructions a packet of l2fwd and of DPDK's testpmd, on the same two NICs.
    VmInstructions(vm::instructions::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let paths = Paths::find();
    let result = match &cli.task {
        Task::Setup { update } => setup(&paths, *update).map(|()| true),
        Task::Test(args) => test::run(&paths, args),
        Task::Bench(task) => bench::run(&paths, task),
        Task::Fuzz(args) => fuzz::run(&paths, args),
        Task::Sim(args) => sim::run(&paths, args),
        Task::Vm(args) => match &args.task {
            Some(vm::VmTask::KmodRate(args)) => vm::kmod::rate::run(&paths, args).map(|()| true),
            Some(vm::VmTask::AfXdpRate(args)) => vm::af_xdp::rate::run(&paths, args).map(|()| true),
            Some(vm::VmTask::DebugKernel) => kmod::debug::build(&paths).map(|()| true),
            None => vm::interactive(&paths, args).map(|()| true),
        },
        Task::VmInstructions(args) => vm::instructions::run(&paths, args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads a list may have seen enough.
        Err(error) if is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 3: the machine lacks something; 2: wrong usage; 1: it was tried and did not work.
            let code = if error.is::<host::Usage>() { 2 } else { 1 };
            ExitCode::from(if error.is::<host::Missing>() { 3 } else { code })
        }
    }
}

/// Whether the reader of our output is gone.
fn is_closed(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn setup(paths: &Paths, update: bool) -> anyhow::Result<()> {
    host::setup(paths, update)?;
    bench::instructions::set_up(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_is_gone_is_no_failure() {
        let error = |kind| anyhow::Error::from(io::Error::from(kind));
        assert!(is_closed(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_closed(&error(io::ErrorKind::StorageFull)));
        assert!(!is_closed(&anyhow::anyhow!("else")));
    }
}
