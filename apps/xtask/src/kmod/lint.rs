//! Static checks of the module: checkpatch, coccinelle, names instead of numbers, no need of a library.

use super::{c_files, source};
use crate::cmd;
use crate::host::{self, Missing};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's package with the whole kernel source; only its checkers are kept.
pub const SOURCE_PACKAGE: &str = "linux-source-6.12";
/// What is kept of it.
const KEPT: [&str; 4] = [
    "*/scripts/checkpatch.pl",
    "*/scripts/spelling.txt",
    "*/scripts/const_structs.checkpatch",
    "*/scripts/coccinelle",
];
/// Directories of semantic patches that fit a driver.
const COCCI: [&str; 6] = ["api", "free", "iterators", "locks", "misc", "null"];
/// The one message that checkpatch may have: version checks are in the one file that is there for them.
const ALLOWED: (&str, &str) = ("compat.h", "LINUX_VERSION_CODE");

/// Where the kernel's checkers are, when they are in the cache.
pub fn cached_scripts(paths: &Paths) -> Option<PathBuf> {
    let dir = paths.cache.join("kernel-scripts/scripts");
    dir.join("checkpatch.pl").exists().then_some(dir)
}

/// Fetches the kernel's checkers.
pub fn fetch_scripts(paths: &Paths) -> Result<()> {
    println!("setup: checkpatch and semantic patches: {SOURCE_PACKAGE}");
    let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
    let out = work.path().join("out");
    fs::create_dir(&out)?;
    unpack_source(work.path(), &out, &KEPT)?;
    let dir = paths.cache.join("kernel-scripts");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::rename(&out, &dir).context("cannot move the kernel's checkers to the cache")
}

/// Downloads the kernel source into `work` and unpacks the parts that match (all, without patterns) into `out`.
pub fn unpack_source(work: &Path, out: &Path, patterns: &[&str]) -> Result<()> {
    host::download_package(SOURCE_PACKAGE, work)?;
    let archive = work.join("usr/src").join(format!("{SOURCE_PACKAGE}.tar.xz"));
    let mut tar = Command::new("tar");
    tar.arg("-xJf").arg(&archive).arg("-C").arg(out);
    tar.args(["--strip-components=1", "--wildcards"]).args(patterns);
    cmd::output(&mut tar)?;
    fs::remove_file(archive)?;
    Ok(())
}

/// Runs every check; what they found is the error.
pub fn run(paths: &Paths) -> Result<String> {
    let lack = || Missing(vec!["the kernel's checkers: run `cargo xtask setup`".to_owned()]);
    let scripts = cached_scripts(paths).ok_or_else(lack)?;
    let mut found = checkpatch(paths, &scripts)?;
    for file in c_files(paths)? {
        let text = fs::read_to_string(&file)?;
        let name = file
            .strip_prefix(&paths.root)
            .unwrap_or(&file)
            .display()
            .to_string();
        found.extend(numbers(&name, &text));
    }
    let (patches, more) = coccinelle(paths, &scripts)?;
    found.extend(more);
    found.extend(undefined_symbols(paths)?);
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(format!(
        "checkpatch --strict, {patches} semantic patches, names for numbers, freestanding policy"
    ))
}

/// checkpatch on every file, as strict as it gets.
fn checkpatch(paths: &Paths, scripts: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("perl");
    command.arg(scripts.join("checkpatch.pl"));
    command.args([
        "--strict",
        "--no-tree",
        "--no-summary",
        "--terse",
        "--show-types",
        "-f",
    ]);
    // By the kernel's own name: checkpatch asks less of a header in include/uapi.
    let module = paths.root.join("kmod");
    for file in c_files(paths)? {
        command.arg(file.strip_prefix(&module).unwrap_or(&file));
    }
    let said = cmd::said(command.current_dir(&module))?;
    Ok(said
        .lines()
        .filter(|line| {
            ["ERROR:", "WARNING:", "CHECK:"]
                .iter()
                .any(|kind| line.contains(kind))
        })
        .filter(|line| !(line.contains(ALLOWED.0) && line.contains(ALLOWED.1)))
        .map(str::to_owned)
        .collect())
}

/// R2: registers and bits have names. A hexadecimal number in C code, or a number as the offset of an access to configuration
/// space, is one without.
fn numbers(name: &str, text: &str) -> Vec<String> {
    if !name.ends_with(".c") {
        return Vec::new();
    }
    let mut in_comment = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = strip_comments(line, &mut in_comment);
        let hex = code
            .to_ascii_lowercase()
            .match_indices("0x")
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        let offset = code.split_once("_config_").is_some_and(|(_, rest)| {
            let argument = rest.split(',').nth(1).unwrap_or_default().trim();
            argument.starts_with(|c: char| c.is_ascii_digit())
        });
        if hex || offset {
            found.push(format!(
                "{name}:{}: a number instead of a name: {}",
                index + 1,
                line.trim()
            ));
        }
    }
    found
}

/// The code of a line: without comments and the contents of strings.
fn strip_comments(line: &str, in_comment: &mut bool) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if *in_comment {
            let Some((_, after)) = rest.split_once("*/") else {
                break;
            };
            *in_comment = false;
            rest = after;
            continue;
        }
        if !in_string && rest.starts_with("//") {
            break;
        }
        if !in_string && rest.starts_with("/*") {
            *in_comment = true;
            rest = &rest[2..];
            continue;
        }
        if c == '"' && !code.ends_with('\\') {
            in_string = !in_string;
        }
        if !in_string || c == '\\' {
            code.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    code
}

/// The kernel's semantic patches; how many, and their reports.
fn coccinelle(paths: &Paths, scripts: &Path) -> Result<(usize, Vec<String>)> {
    let mut patches = Vec::new();
    for dir in COCCI {
        let dir = scripts.join("coccinelle").join(dir);
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            patches.push(entry?.path());
        }
    }
    // Those with parts in OCaml take its compiler, which Debian's coccinelle does without.
    patches.retain(|patch| {
        let text = fs::read_to_string(patch).unwrap_or_default();
        text.lines().any(|line| line.trim() == "virtual report") && !text.contains(":ocaml")
    });
    patches.sort();
    let mut found = Vec::new();
    for patch in &patches {
        let mut command = Command::new("spatch");
        command.args(["-D", "report", "--no-show-diff", "--very-quiet", "--no-includes"]);
        command
            .args(["--timeout", "60", "--cocci-file"])
            .arg(patch)
            .args(c_files(paths)?);
        let said = cmd::text(&mut command)?;
        found.extend(
            said.lines()
                .filter(|line| !line.trim().is_empty())
                .map(str::to_owned),
        );
    }
    Ok((patches.len(), found))
}

/// The policy links with nothing: it compiles freestanding, with the analyzer on, and has no undefined symbol.
fn undefined_symbols(paths: &Paths) -> Result<Vec<String>> {
    let dir = paths.target.join("kmod/freestanding");
    fs::create_dir_all(&dir)?;
    let mut objects = Vec::new();
    for file in c_files(paths)? {
        let is_policy = file.parent() == Some(&source(paths).join("policy"));
        if !is_policy || file.extension().is_none_or(|ext| ext != "c") {
            continue;
        }
        let object = dir.join(file.file_name().unwrap_or_default()).with_extension("o");
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-std=gnu11",
            "-ffreestanding",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fanalyzer",
            "-c",
        ]);
        cmd::output(gcc.arg(&file).arg("-o").arg(&object))?;
        objects.push(object);
    }
    let linked = dir.join("policy.ro");
    cmd::output(Command::new("ld").args(["-r", "-o"]).arg(&linked).args(&objects))?;
    let symbols = cmd::text(Command::new("nm").arg("-u").arg(&linked))?;
    Ok(symbols
        .lines()
        .map(|line| format!("the policy needs the symbol {}", line.trim()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_names_are_not() {
        let bad = "\tif (x & 0x04)\n\tpci_read_config_word(pdev, 4, &cmd);\n\tpci_user_write_config_dword(pdev, 16, v);\n";
        assert_eq!(numbers("kmod/a.c", bad).len(), 3);
        let good = "\t/* at 0x04 */ if (x & PCI_COMMAND)\n\tpci_read_config_word(pdev, PCI_COMMAND, &cmd);\n\
                    \tpr_info(\"0x10\"); // 0x20\n/*\n * 0x30\n */\n\tx = a0x1;\n";
        assert_eq!(numbers("kmod/a.c", good), Vec::<String>::new());
        assert!(numbers("kmod/a.h", bad).is_empty());
    }
}
