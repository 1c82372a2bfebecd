//! Building the module, out of the source tree and once for a kernel.

use super::{headers, source};
use crate::cmd;
use crate::paths::Paths;
use crate::vm::kernel::Kernel;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// How a module is built.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Every fallible step can be made to fail (`fail_nth`): for tests of the error paths.
    pub faults: bool,
    /// With W=1 and sparse; anything they say is an error.
    pub strict: bool,
}

/// One build at a time: several guests want the same module.
static BUILDING: Mutex<()> = Mutex::new(());

/// Builds `barline.ko` for a kernel.
pub fn module(paths: &Paths, kernel: &Kernel, options: Options) -> Result<PathBuf> {
    let _building = BUILDING.lock();
    let headers = headers::need(paths, kernel)?;
    let variant = match (options.strict, options.faults) {
        (true, _) => "strict",
        (false, true) => "faults",
        (false, false) => "plain",
    };
    let dir = paths.target.join("kmod").join(&kernel.release).join(variant);
    copy(&source(paths), &dir)?;
    let mut make = Command::new("make");
    make.arg("-C").arg(&headers).arg(format!("M={}", dir.display()));
    // A BTF section would need the kernel's own image and pahole.
    make.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "-j2"]);
    if options.faults {
        make.arg("BARLINE_FAULTS=1");
    }
    if options.strict {
        make.args(["W=1", "C=2", "CHECK=sparse"]);
    }
    make.arg("modules");
    let said = cmd::messages(&mut make)?;
    let complaints: Vec<&str> = said.lines().filter(|line| is_complaint(line)).collect();
    if options.strict && !complaints.is_empty() {
        bail!("{}: {}", kernel.release, complaints.join("\n"));
    }
    Ok(dir.join("barline.ko"))
}

/// Warnings of the compiler, of sparse and of modpost; not the kernel's remark about another compiler.
fn is_complaint(line: &str) -> bool {
    let warns = ["warning:", "WARNING:", "error:"]
        .iter()
        .any(|word| line.contains(word));
    warns && !line.contains("the compiler differs from the one used to build the kernel")
}

/// Copies what a build reads, with newer files only, so that make builds only what changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let (source, target) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            if ["policy", "include", "uapi"].iter().any(|dir| name == *dir) {
                copy(&source, &target)?;
            }
            continue;
        }
        let wanted = name == "Kbuild" || source.extension().is_some_and(|ext| ext == "c" || ext == "h");
        let bytes = fs::read(&source)?;
        if wanted && fs::read(&target).ok() != Some(bytes) {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_chatter() {
        assert!(is_complaint("a.c:1:2: warning: unused variable 'x'"));
        assert!(is_complaint("WARNING: modpost: missing MODULE_LICENSE()"));
        assert!(!is_complaint("  CC [M]  barline.o"));
        assert!(!is_complaint(
            "warning: the compiler differs from the one used to build the kernel"
        ));
    }
}
