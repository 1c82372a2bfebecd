//! Tests of the kernel module, one named test a point of the review and a bug of the patch; see `kmod/Documentation/review.md`.
//!
//! `kmod-tests list [BED...]` prints names; `kmod-tests run NAME BED...` runs the beds' tests that have NAME (which may be empty, or
//! several with commas between) in theirs and prints `TEST name ok|FAIL text`. A bed is a machine: `main` has everything, `stock` is the same with one of
//! Debian's kernels, `debug` with the debug kernel, `noremap` has no interrupt remapping, `sleep` can be woken. From `unplug` devices are
//! taken, from `bare` too, but there the module is not loaded. It needs root, the module in /payload and the functions that
//! the virtual machine of `cargo xtask test kmod` has.
#![allow(clippy::print_stdout, reason = "results go to standard output")]

mod abi;
mod cases;
mod devices;
mod host;
mod sys;

use cases::{CASES, Case};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => list(|_| true),
        ["list", beds @ ..] => list(|case| beds.contains(&case.bed)),
        ["run", only, beds @ ..] => run(beds, only),
        _ => {
            eprintln!("usage: kmod-tests list [BED...] | run NAME BED...");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn list(wanted: impl Fn(&Case) -> bool) {
    for case in CASES.iter().filter(|case| wanted(case)) {
        println!("{}", case.name);
    }
}

/// Runs the tests of beds in order, each whatever became of the others, and looks at what each leaves behind.
fn run(beds: &[&str], only: &str) {
    for case in CASES
        .iter()
        .filter(|case| beds.contains(&case.bed) && only.split(',').any(|part| case.name.contains(part)))
    {
        // For the reader of the console: the kernel's messages stand below the test's name.
        eprintln!("kmod-tests: {}", case.name);
        // And the host, which is told nothing else for as long as the test takes.
        println!("RUN {}", case.name);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            (case.run)().and_then(|text| cases::left_behind().map(|()| text))
        }));
        match result {
            Ok(Ok(text)) => println!(
                "TEST {} ok {:.1} s {text}",
                case.name,
                start.elapsed().as_secs_f32()
            ),
            Ok(Err(error)) => {
                let text = format!("{error:#}").replace('\n', " ");
                eprintln!("kmod-tests: FAIL {text}");
                println!("TEST {} FAIL {text}", case.name);
            }
            Err(_) => println!("TEST {} FAIL it panicked", case.name),
        }
    }
}
