//! The loom models: all orders in which few operations of two threads can meet.

use crate::cmd;
use crate::paths::Paths;
use crate::test::Outcome;
use anyhow::Result;
use std::env;
use std::process::Command;

/// Packages, and their models.
const MODELS: &[(&str, &str)] = &[
    ("barline", "ring_loom"),
    ("barline", "wait_loom"),
    ("barline-vhost", "gate_loom"),
];

/// Runs them all. With `--cfg loom` every crate is another one, so they have a place of their own; optimised, since they are
/// minutes otherwise, but without what takes a release long to link.
pub fn run(paths: &Paths) -> Result<Outcome> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // All at once: what they depend on has the same features then, and is built once.
    let mut command = Command::new(&cargo);
    command.args(["test", "--release"]);
    for (package, model) in MODELS {
        command.args(["-p", package, "--test", model]);
    }
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", paths.target.join("loom"))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cmd::run(command.current_dir(&paths.root))?;
    Ok(Outcome::Passed(format!("{} programs of models", MODELS.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Files of models in the `tests` of the packages in this folder.
    fn models(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let tests = files.map(|file| file.path().join("tests"));
        let files = tests
            .filter_map(|tests| fs::read_dir(tests).ok())
            .flatten()
            .flatten();
        let is_model = |path: &Path| {
            path.is_file() && fs::read_to_string(path).is_ok_and(|text| text.contains("\n#![cfg(loom)]"))
        };
        let found = files.map(|file| file.path()).filter(|path| is_model(path));
        found
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect()
    }

    #[test]
    fn every_model_is_run() {
        let root = Paths::find().root;
        let folders = ["", "engine", "drivers", "apps"];
        let mut found: Vec<String> = folders
            .iter()
            .flat_map(|folder| models(&root.join(folder)))
            .collect();
        let mut known: Vec<&str> = MODELS.iter().map(|(_, model)| *model).collect();
        found.sort();
        known.sort_unstable();
        assert_eq!(found, known);
    }
}
