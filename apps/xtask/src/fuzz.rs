//! `cargo xtask fuzz`: runs the targets of `fuzz/`, and keeps what they found.

use crate::cmd;
use crate::host::{Missing, Usage};
use crate::paths::{Paths, on_path};
use anyhow::{Context, Result};
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub struct FuzzArgs {
    /// A target; without one, all of them in turn. `--list` names them.
    target: Option<String>,
    /// How long a target runs.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
    /// Afterwards reduce the target's kept corpus to the fewest inputs that reach what all found so far reach.
    #[arg(long)]
    keep: bool,
    /// Only print the names of the targets.
    #[arg(long)]
    list: bool,
}

/// Longest input in bytes: a whole configuration space.
const LONGEST: usize = 4096;

/// Runs what was asked for; `false` when a target found something.
pub fn run(paths: &Paths, args: &FuzzArgs) -> Result<bool> {
    let all = targets(paths)?;
    if args.list {
        all.iter().try_for_each(|name| writeln!(stdout(), "{name}"))?;
        return Ok(true);
    }
    let chosen: Vec<&String> = match &args.target {
        Some(wanted) => all.iter().filter(|name| *name == wanted).collect(),
        None => all.iter().collect(),
    };
    if chosen.is_empty() {
        let text = format!("there is no such target; these there are: {}", all.join(", "));
        return Err(Usage(text).into());
    }
    if let Some(missing) = missing() {
        println!("SKIPPED fuzz: {missing}");
        return Err(missing.into());
    }
    let mut good = true;
    for name in chosen {
        good &= Target::new(paths, name).fuzz(args)?;
    }
    Ok(good)
}

/// The targets: one program each.
fn targets(paths: &Paths) -> Result<Vec<String>> {
    let dir = paths.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// What fuzzing needs and this machine lacks.
fn missing() -> Option<Missing> {
    let nightly = cmd::output(Command::new("rustc").args(["+nightly", "--version"])).is_ok();
    let mut lacks = Vec::new();
    if !nightly {
        lacks.push("a nightly compiler: `rustup toolchain install nightly`".to_owned());
    }
    if !on_path("cargo-fuzz") {
        lacks.push("cargo-fuzz: `cargo install cargo-fuzz`".to_owned());
    }
    (!lacks.is_empty()).then_some(Missing(lacks))
}

/// One target and its places.
struct Target<'a> {
    paths: &'a Paths,
    name: &'a str,
    /// Inputs in the repository.
    kept: PathBuf,
    /// Inputs found by runs on this machine.
    found: PathBuf,
}

impl<'a> Target<'a> {
    fn new(paths: &'a Paths, name: &'a str) -> Self {
        Self {
            paths,
            name,
            kept: paths.root.join("fuzz/corpus").join(name),
            found: paths.target.join("fuzz/corpus").join(name),
        }
    }

    /// Whether the run found nothing wrong; an input that fails is named by cargo-fuzz.
    fn fuzz(&self, args: &FuzzArgs) -> Result<bool> {
        println!("==> {} for {} s", self.name, args.seconds);
        fs::create_dir_all(&self.found).with_context(|| format!("cannot make {}", self.found.display()))?;
        let time = format!("-max_total_time={}", args.seconds);
        let options = [
            time,
            format!("-max_len={LONGEST}"),
            "-print_final_stats=1".to_owned(),
        ];
        let run = self.cargo_fuzz(&[&self.found, &self.kept], &options);
        if let Err(error) = run {
            println!("FAILED {}: {error:#}", self.name);
            return Ok(false);
        }
        if args.keep {
            self.keep()?;
        }
        println!("PASSED {}", self.name);
        Ok(true)
    }

    /// Replaces the inputs in the repository that are named by their hash. Those with a name of their own stay: somebody
    /// knows what they are for.
    fn keep(&self) -> Result<()> {
        let small = tempfile::tempdir_in(&self.paths.target)?;
        let (named, hashed) = self.split()?;
        for path in named.iter().chain(&hashed) {
            fs::copy(path, self.found.join(path.file_name().unwrap_or_default()))?;
        }
        let from = small.path().to_owned();
        self.cargo_fuzz(&[&from, &self.found], &["-set_cover_merge=1".to_owned()])?;
        hashed.iter().try_for_each(fs::remove_file)?;
        let given: Vec<Vec<u8>> = named.iter().map(fs::read).collect::<Result<_, _>>()?;
        for entry in fs::read_dir(small.path())? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            if !given.contains(&bytes) {
                let hash = path.file_name().unwrap_or_default();
                fs::write(self.kept.join(hash), bytes)?;
            }
        }
        Ok(())
    }

    /// Kept inputs with a name of their own, and those that libFuzzer named by their hash.
    fn split(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let paths: Result<Vec<PathBuf>, _> = fs::read_dir(&self.kept)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect();
        let hashed = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        Ok(paths?.into_iter().partition(|path| !hashed(path)))
    }

    fn cargo_fuzz(&self, dirs: &[&Path], options: &[String]) -> Result<()> {
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz", "run", "--target-dir"])
            .arg(self.paths.target.join("fuzz"))
            .arg(self.name)
            .args(dirs)
            .arg("--")
            .args(options)
            .current_dir(&self.paths.root)
            // Cargo's own: they name the toolchain and the package that run this task.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env_remove("CARGO_MANIFEST_DIR");
        cmd::run(&mut command)
    }
}
