//! The steps on this machine itself.

use super::tally::Outcome;
use crate::bench::instructions::{self, Verdict};
use crate::cmd;
use crate::kmod;
use crate::loom;
use crate::netns;
use crate::paths::{Paths, on_path};
use crate::sim;
use crate::testpmd;
use crate::vm;
use crate::vm::kernel::Series;
use anyhow::Result;
use std::env;
use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;

/// A step that runs a command of the workspace.
pub struct Local {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Paths) -> Result<Outcome>,
}

/// Steps that have the machine to themselves, in order: what is quick to fail, and what measures in real time.
pub const ALONE: &[Local] = &[
    Local {
        name: "fmt",
        run: |paths| cargo(paths, &["fmt", "--all", "--check"]),
    },
    Local {
        name: "clippy",
        run: clippy,
    },
    Local {
        name: "unit",
        run: unit,
    },
    Local {
        name: "doctest",
        run: |paths| cargo(paths, &["test", "--doc", "--workspace"]),
    },
    Local {
        name: "netns",
        run: netns::run,
    },
];

/// Steps one of which runs beside virtual machines, in order: first the forwarder, which most of these wait for.
pub const BESIDE: &[Local] = &[
    Local {
        name: "l2fwd-build",
        run: |paths| vm::l2fwd::build(paths).map(|_| Outcome::Passed(String::new())),
    },
    Local {
        name: "kmod-build",
        run: kmod_build,
    },
    Local {
        name: "kmod-lint",
        run: |paths| kmod::lint::run(paths).map(Outcome::Passed),
    },
    Local {
        name: "doc",
        run: doc,
    },
    Local {
        name: "sim",
        run: |paths| sim::plans(paths, &sim::SimArgs::CI),
    },
    Local {
        name: "vhost-testpmd",
        run: testpmd::vhost::run,
    },
    Local {
        name: "virtio-user-testpmd",
        run: testpmd::virtio_user::run,
    },
    Local {
        name: "offload-testpmd",
        run: testpmd::offloads::run,
    },
    Local {
        name: "instructions",
        run: instructions,
    },
    Local {
        name: "loom",
        run: loom::run,
    },
    Local {
        name: "kmod-policy",
        run: kmod_policy,
    },
    Local {
        name: "deny",
        run: |paths| deny(paths, &["check", "licenses", "bans", "sources"]),
    },
    Local {
        name: "advisories",
        run: advisories,
    },
];

/// Runs cargo in the workspace.
fn cargo(paths: &Paths, args: &[&str]) -> Result<Outcome> {
    // Cargo names itself to what it runs, so that the same toolchain does the rest.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    cmd::run(Command::new(cargo).args(args).current_dir(&paths.root))?;
    Ok(Outcome::Passed(String::new()))
}

fn clippy(paths: &Paths) -> Result<Outcome> {
    cargo(
        paths,
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    )
}

/// The documentation of all crates, without a warning: no link that leads nowhere.
fn doc(paths: &Paths) -> Result<Outcome> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["doc", "--quiet", "--workspace", "--no-deps"]);
    cmd::run(
        command
            .env("RUSTDOCFLAGS", "-D warnings")
            .current_dir(&paths.root),
    )?;
    Ok(Outcome::Passed(String::new()))
}

fn unit(paths: &Paths) -> Result<Outcome> {
    if on_path("cargo-nextest") {
        let mut words = vec![
            "nextest",
            "run",
            "--workspace",
            "--no-tests",
            "pass",
            "--no-fail-fast",
        ];
        // See .config/nextest.toml.
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let places = (4 * processors + 3).to_string();
        words.extend(["--profile", "waits", "--test-threads", &places]);
        cargo(paths, &words)
    } else {
        // No doc tests: they are a step of their own.
        cargo(
            paths,
            &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"],
        )
    }
}

/// Instructions a packet, against the committed baseline.
fn instructions(paths: &Paths) -> Result<Outcome> {
    Ok(match instructions::check(paths, false)? {
        Verdict::Kept => Outcome::Passed(String::new()),
        Verdict::Exceeded => Outcome::Failed(
            "more than 3 % above benches/baselines/instructions.json; if it has to be, `cargo xtask bench \
             instructions --write`"
                .to_owned(),
        ),
        Verdict::OtherCompiler => Outcome::Skipped(
            "the baseline is of another compiler; `cargo xtask bench instructions --write` on a good commit, \
             then this again"
                .to_owned(),
        ),
    })
}

fn deny(paths: &Paths, arguments: &[&str]) -> Result<Outcome> {
    if !on_path("cargo-deny") {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed: `cargo install cargo-deny`".to_owned(),
        ));
    }
    let mut all = vec!["deny", "--log-level", "error"];
    all.extend(arguments);
    cargo(paths, &all)
}

/// Seconds that the module's policy code may take: one of its first walks over a list went round for ever.
const POLICY_LIMIT: &str = "900";

/// The policy of the kernel module under the address and undefined-behaviour sanitizers, with a limit.
fn kmod_policy(paths: &Paths) -> Result<Outcome> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=10", POLICY_LIMIT]).arg(cargo);
    limited.args(["test", "--quiet", "-p", "kmod-policy-tests", "--tests"]);
    limited
        .env("BARLINE_SANITIZE", "1")
        .env("CARGO_TARGET_DIR", paths.target.join("sanitize"));
    cmd::run(limited.current_dir(&paths.root))?;
    Ok(Outcome::Passed(
        "address and undefined-behaviour sanitizers".to_owned(),
    ))
}

/// The kernel module for every kernel that is there: W=1, sparse, no warning.
fn kmod_build(paths: &Paths) -> Result<Outcome> {
    let mut built = Vec::new();
    for series in Series::ALL {
        let kernel = match vm::kernel(paths, series) {
            Err(_) if series == Series::Debug => continue,
            kernel => kernel?,
        };
        let strict = kmod::build::Options {
            strict: true,
            faults: false,
        };
        kmod::build::module(paths, &kernel, strict)?;
        built.push(kernel.release);
    }
    Ok(Outcome::Passed(built.join(", ")))
}

/// Known vulnerabilities. The list of them is fetched over the network; a machine without one has to do without.
fn advisories(paths: &Paths) -> Result<Outcome> {
    if on_path("cargo-deny") {
        let mut fetch = Command::new("cargo");
        fetch.args(["deny", "fetch", "db"]).current_dir(&paths.root);
        if cmd::output(&mut fetch).is_err() {
            return Ok(Outcome::Skipped(
                "the advisory database cannot be fetched from here".to_owned(),
            ));
        }
    }
    deny(paths, &["check", "--disable-fetch", "advisories"])
}
