//! `Documentation/review.md` against the tests there are: no point without one, no name that is not one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names behind `fn`, in the files of a directory.
fn functions(dir: &Path, before: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let text = fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
        for line in text.lines().map(str::trim) {
            let name = line.strip_prefix(before).and_then(|rest| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// Tests by what a row calls them: `guest NAME`, `policy NAME`, `step NAME`.
fn tests() -> BTreeSet<String> {
    let listed = Command::new(env!("CARGO_BIN_EXE_kmod-tests"))
        .arg("list")
        .output()
        .expect("the list");
    let guest = String::from_utf8(listed.stdout).expect("text");
    let mut all: BTreeSet<String> = guest.lines().map(|name| format!("guest {name}")).collect();
    let policy = functions(&root().join("policy-tests/tests"), "fn ");
    all.extend(policy.into_iter().map(|name| format!("policy {name}")));
    let steps = fs::read_to_string(root().join("../apps/xtask/src/test/steps.rs")).expect("the steps");
    for line in steps.lines() {
        let name = line
            .trim()
            .strip_prefix("name: \"")
            .and_then(|rest| rest.strip_suffix("\","));
        all.extend(name.map(|name| format!("step {name}")));
    }
    all
}

/// Rows of the tables: the point and its tests.
fn rows() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("Documentation/review.md")).expect("review.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .map(str::trim)
            .collect();
        let is_point = cells.first().is_some_and(|cell| {
            cell.starts_with(['R', 'B']) && cell[1..].chars().all(|c| c.is_ascii_digit()) && cell.len() > 1
        });
        assert!(!is_point || cells.len() == 4, "{line}");
        is_point.then(|| {
            (
                cells[0].to_owned(),
                cells[3].split(", ").map(str::to_owned).collect(),
            )
        })
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_point_has_tests_that_exist() {
    let tests = tests();
    let rows = rows();
    let points: Vec<&str> = rows.iter().map(|(point, _)| point.as_str()).collect();
    let wanted: Vec<String> = (1..=30)
        .map(|n| format!("R{n}"))
        .chain((1..=38).map(|n| format!("B{n}")))
        .collect();
    assert_eq!(points, wanted, "a point is missing, twice, or out of order");
    for (point, named) in &rows {
        assert!(!named.is_empty(), "{point} has no test");
        for name in named {
            assert!(tests.contains(name), "{point}: there is no test '{name}'");
        }
    }
}

/// The other way round: no guest test without a row.
#[test]
fn every_guest_test_is_an_answer() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|(_, names)| names).collect();
    let orphans: Vec<String> = tests()
        .into_iter()
        .filter(|name| name.starts_with("guest ") && !named.contains(name))
        .collect();
    assert_eq!(orphans, Vec::<String>::new());
}
