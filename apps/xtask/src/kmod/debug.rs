//! The debug kernel: KASAN, lockdep, kmemleak, fault injection, iommufd. Built once, from Debian's kernel source.

use super::{lint, source};
use crate::cmd;
use crate::host;
use crate::paths::Paths;
use crate::vm::kernel::{Images, Kernel, Series};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the build takes besides a compiler.
const PACKAGES: [(&str, &str); 4] = [
    ("/usr/bin/bison", "bison"),
    ("/usr/bin/flex", "flex"),
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/bin/bc", "bc"),
];
/// Where a build leaves the image that boot loaders take.
const BZIMAGE: &str = "arch/x86/boot/bzImage";
/// The source is unpacked whole.
const SOURCE_STAMP: &str = "unpacked";

/// Where the build is, when its kernel is in the cache.
pub fn build_dir(paths: &Paths) -> Option<PathBuf> {
    Kernel::cached(paths, Series::Debug).and(root(paths).ok().map(|root| root.join("build")))
}

/// Builds the kernel, or what is not built of it, and puts it into the cache.
pub fn build(paths: &Paths) -> Result<()> {
    fs::create_dir_all(&paths.cache).with_context(|| format!("cannot make {}", paths.cache.display()))?;
    for (file, package) in PACKAGES {
        if !Path::new(file).exists() {
            host::need_package(package)?;
        }
    }
    let root = root(paths)?;
    let (tree, out) = (root.join("tree"), root.join("build"));
    if !tree.join(SOURCE_STAMP).exists() {
        println!("debug kernel: source from {}", lint::SOURCE_PACKAGE);
        fs::create_dir_all(&tree)?;
        let work = tempfile::tempdir_in(&root).context("cannot make a directory in the cache")?;
        lint::unpack_source(work.path(), &tree, &["*"])?;
        fs::write(tree.join(SOURCE_STAMP), "")?;
    }
    fs::create_dir_all(&out)?;
    configure(paths, &tree, &out)?;
    println!("debug kernel: make, half an hour on two cores; it goes on where it was interrupted");
    cmd::run(make(&tree, &out).args(["-j2", "--quiet", "bzImage", "modules"]))?;
    let release = cmd::text(make(&tree, &out).args(["--no-print-directory", "--silent", "kernelrelease"]))?;
    let modules = root.join("modules");
    let install = format!("INSTALL_MOD_PATH={}", modules.display());
    cmd::output(make(&tree, &out).args([&install, "modules_install"]))?;
    let release = release.trim();
    let images = Images {
        vmlinux: &out.join("vmlinux"),
        compressed: &out.join(BZIMAGE),
    };
    Kernel::store(paths, release, images, &modules.join("lib/modules").join(release))?;
    fs::remove_dir_all(&modules)?;
    println!("debug kernel: {release} is in the cache");
    Ok(())
}

/// The image that boot loaders take, of a kernel that was built before it was wanted.
pub fn compressed(paths: &Paths) -> Result<PathBuf> {
    let root = root(paths)?;
    let (tree, out) = (root.join("tree"), root.join("build"));
    cmd::run(make(&tree, &out).args(["-j2", "--quiet", "bzImage"]))?;
    Ok(out.join(BZIMAGE))
}

/// The directory, by its real name: a build does not survive another one.
fn root(paths: &Paths) -> Result<PathBuf> {
    let root = paths.cache.join("debug-kernel");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    root.canonicalize()
        .context("cannot find the debug kernel's directory")
}

fn make(tree: &Path, out: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C").arg(tree).arg(format!("O={}", out.display()));
    make
}

/// Makes the configuration when the fragment is another than that of the last time; every line of it must hold.
fn configure(paths: &Paths, tree: &Path, out: &Path) -> Result<()> {
    let fragment = fs::read_to_string(source(paths).join("debug.config")).context("no kmod/debug.config")?;
    let used = out.join("fragment.config");
    if fs::read_to_string(&used).is_ok_and(|text| text == fragment) {
        return Ok(());
    }
    fs::write(&used, &fragment)?;
    let all = format!("KCONFIG_ALLCONFIG={}", used.display());
    let made = cmd::output(make(tree, out).args([all.as_str(), "allnoconfig"]));
    let config = fs::read_to_string(out.join(".config")).unwrap_or_default();
    let lost = not_taken(&fragment, &config);
    if made.is_err() || !lost.is_empty() {
        // The next run must not take this for done.
        fs::remove_file(&used)?;
    }
    made?;
    ensure!(lost.is_empty(), "the kernel does not take {}", lost.join(", "));
    Ok(())
}

/// Lines of a fragment that a configuration does not have.
fn not_taken(fragment: &str, config: &str) -> Vec<String> {
    let has = |wanted: &str| config.lines().any(|line| line == wanted);
    fragment
        .lines()
        .filter(|line| line.starts_with("CONFIG_") && !has(line))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_a_kernel_drops_are_named() {
        let lost = not_taken(
            "# a\nCONFIG_A=y\nCONFIG_B=m\n",
            "CONFIG_A=y\n# CONFIG_B is not set\n",
        );
        assert_eq!(lost, ["CONFIG_B=m"]);
    }
}
