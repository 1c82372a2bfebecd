//! What the documents say of this tree: files and steps that they name are there.

use crate::paths::Paths;
use crate::test::is_step;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that a path in a document begins with.
const FOLDERS: [&str; 7] = ["apps", "benches", "configs", "drivers", "engine", "fuzz", "kmod"];

/// All documents below a folder, but what was built, and the changelog, which tells of what was.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents(&path, found);
        } else if name.ends_with(".md") && name != "CHANGELOG.md" {
            found.push(path);
        }
    }
}

/// What stands between backticks, outside of blocks of code.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A path of this tree: a folder of it, and nothing but names.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let first = text.split('/').next().unwrap_or_default();
    text.contains('/') && text.chars().all(plain) && FOLDERS.contains(&first)
}

#[test]
fn paths_and_steps_in_the_documents_are_there() {
    let root = Paths::find().root;
    let mut all = Vec::new();
    documents(&root, &mut all);
    assert!(all.len() > 20, "{all:?}");
    let (mut paths, mut steps, mut wrong) = (0, 0, Vec::new());
    for document in all {
        let text = fs::read_to_string(&document).expect("a document");
        for words in quoted(&text) {
            let step = words.split("cargo xtask test ").nth(1);
            let step = step.and_then(|rest| rest.split_whitespace().next());
            steps += usize::from(step.is_some());
            paths += usize::from(is_path(words));
            let is_wrong = is_path(words) && !root.join(words).exists();
            let named = step.filter(|step| step.starts_with(|c: char| c.is_ascii_lowercase()));
            if is_wrong || named.is_some_and(|step| !is_step(step)) {
                wrong.push(format!("{}: {words}", document.display()));
            }
        }
    }
    assert!(paths > 50 && steps > 5, "{paths} paths, {steps} steps");
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
}

#[test]
fn what_stands_in_backticks_is_found() {
    let text = "a `b/c` d `engine/docs` e\n```\nf `g`\n";
    assert_eq!(quoted(text).collect::<Vec<_>>(), ["b/c", "engine/docs", "g"]);
    assert!(is_path("engine/docs") && !is_path("b/c") && !is_path("engine") && !is_path("drivers/*/x"));
}
