//! Which packages hold a kernel, and what is where in them.

use super::Series;
use crate::host::{Missing, Suite};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The suite with the newest kernels that still run with the userland of a stable release.
const NEWEST_SUITE: &str = "trixie-backports";
/// Packages that newer kernels are split into (Debian from 7.2 on); the one of the image only asks for them.
const PARTS: [&str; 3] = ["linux-base-", "linux-binary-", "linux-modules-"];

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Unpacked {
    /// As `uname -r` prints it.
    pub release: String,
    /// The image as boot loaders take it.
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
}

/// Unpacks the newest kernel of a series that there is into `dir`.
pub fn unpack(paths: &Paths, series: Series, dir: &Path) -> Result<Unpacked> {
    let (suite, names) = offered(paths, series)?;
    let package = pick_package(series, &names).ok_or_else(|| Missing(vec![lack(series)]))?;
    println!("setup: kernel {series}: {package}");
    let release = package
        .trim_start_matches("linux-image-")
        .trim_end_matches("-unsigned");
    let parts = PARTS.map(|part| format!("{part}{release}"));
    for name in [&package]
        .into_iter()
        .chain(parts.iter().filter(|part| names.contains(part)))
    {
        suite.download(name, dir)?;
    }
    let modules = ["lib/modules", "usr/lib/modules"].map(|below| dir.join(below));
    let modules = modules.iter().find(|path| path.exists());
    let modules = modules.with_context(|| format!("the package {package} has no modules"))?;
    let release = only_entry(modules)?;
    let modules = modules.join(&release);
    let images = [
        dir.join("boot").join(format!("vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ];
    let image = images.into_iter().find(|image| image.exists());
    Ok(Unpacked {
        image: image.with_context(|| format!("the package {package} has no kernel image"))?,
        release,
        modules,
    })
}

/// Packages of kernels, and where they are to be had.
fn offered(paths: &Paths, series: Series) -> Result<(Suite, Vec<String>)> {
    let suite = match series {
        Series::Newest => Suite::of(paths, NEWEST_SUITE)
            .map_err(|error| Missing(vec![format!("{}: {error:#}", lack(series))]))?,
        _ => Suite::own(),
    };
    let names = suite.search("^linux-(image|base|binary|modules)-[0-9]")?;
    Ok((suite, names))
}

/// What is not to be had, and the remedy.
pub fn lack(series: Series) -> String {
    match series {
        Series::Newest => format!(
            "a kernel of Debian's suite {NEWEST_SUITE}: run `cargo xtask setup` where the mirror in apt's sources has it"
        ),
        _ => format!(
            "a package linux-image-{}*-amd64: add the Debian suite that has it to apt's sources",
            series.prefix()
        ),
    }
}

/// Numbers of a version, for comparison: 6.12.117 is newer than 6.12.95.
pub fn version_key(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// Chooses among package names: the generic flavour, the newest; signed before unsigned (same contents).
fn pick_package(series: Series, names: &[String]) -> Option<String> {
    let stem = format!("linux-image-{}", series.prefix());
    let generic = |name: &&String| {
        let rest = name
            .strip_prefix(stem.as_str())
            .map(|rest| rest.trim_end_matches("-unsigned"));
        rest.and_then(|rest| rest.strip_suffix("-amd64"))
            .is_some_and(|version| {
                let plain = !["cloud", "rt", "dbg"]
                    .iter()
                    .any(|flavour| version.split('-').any(|part| part == *flavour));
                plain && series.has(&format!("{}{version}", series.prefix()))
            })
    };
    let newest = names.iter().filter(generic).max_by_key(|name| {
        (
            version_key(name.split("-amd64").next().unwrap_or_default()),
            !name.ends_with("-unsigned"),
        )
    });
    newest.cloned()
}

fn only_entry(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("the package has no {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [one] => Ok(one.clone()),
        _ => bail!(
            "expected one kernel release in {}, found {names:?}",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_generic_package_is_picked() {
        let names = [
            "linux-image-6.12.95+deb12-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-rt-amd64",
            "linux-image-6.12.117+deb12-amd64-unsigned",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-amd64-dbg",
        ]
        .map(str::to_owned);
        let picked = pick_package(Series::V6_12, &names);
        assert_eq!(picked.as_deref(), Some("linux-image-6.12.117+deb12-amd64"));
        assert_eq!(pick_package(Series::V6_1, &names), None);
    }

    #[test]
    fn unsigned_package_serves_when_it_is_alone() {
        let names = [
            "linux-image-6.1.0-9-amd64-unsigned",
            "linux-image-6.1.0-10-amd64-unsigned",
        ]
        .map(str::to_owned);
        let picked = pick_package(Series::V6_1, &names);
        assert_eq!(picked.as_deref(), Some("linux-image-6.1.0-10-amd64-unsigned"));
    }

    #[test]
    fn the_newest_of_all_is_new_enough() {
        let old = ["linux-image-6.12.117+deb13-amd64", "linux-image-amd64"].map(str::to_owned);
        assert_eq!(pick_package(Series::Newest, &old), None);
        let names = [
            "linux-image-6.18.15+deb13-amd64",
            "linux-image-7.3.4+deb13-amd64",
            "linux-image-7.3.4+deb13-rt-amd64",
            "linux-image-7.2.12+deb13-amd64",
            "linux-base-7.3.4+deb13-amd64",
        ]
        .map(str::to_owned);
        let picked = pick_package(Series::Newest, &names);
        assert_eq!(picked.as_deref(), Some("linux-image-7.3.4+deb13-amd64"));
    }
}
