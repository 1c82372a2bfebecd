//! Every input that fuzzing kept, on the stable compiler.

use barline_fuzzing::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_kept_input_is_survived() {
    for (name, target) in TARGETS {
        let dir = fuzz().join("corpus").join(name);
        let inputs = names(&dir);
        assert!(inputs.len() >= 8, "{name}: {} inputs", inputs.len());
        for input in inputs {
            let bytes = fs::read(dir.join(&input)).unwrap();
            if catch_unwind(|| target(&bytes)).is_err() {
                panic!("{name}: {input}");
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), listed);
    let programs = names(&fuzz().join("fuzz_targets"));
    let programs: BTreeSet<String> = programs.iter().map(|name| name.replace(".rs", "")).collect();
    assert_eq!(programs, listed);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}
