//! Stock kernels for the guests, fetched as Debian packages and unpacked without being installed.

mod modules;

use crate::cmd;
use crate::host;
use crate::kmod::debug;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use modules::{Modules, WANTED};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File whose presence says that a kernel directory is complete; holds the module list it was made for.
const STAMP: &str = "complete";

/// Name in the cache of the image that boot loaders take.
const COMPRESSED: &str = "vmlinuz";

/// The images of one kernel.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The ELF image.
    pub vmlinux: &'a Path,
    /// The same as boot loaders take it.
    pub compressed: &'a Path,
}

/// A kernel series that tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Series {
    /// Linux 6.1, the kernel of Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Linux 6.12, the kernel of Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// Our build of 6.12 with KASAN, lockdep and kmemleak.
    #[value(name = "debug")]
    Debug,
}

/// What the release of the debug kernel ends with: CONFIG_LOCALVERSION of `kmod/debug.config`.
const DEBUG_SUFFIX: &str = "-barline-debug";

impl Series {
    /// Debian's kernels, the default one first.
    pub const STOCK: [Self; 2] = [Self::V6_12, Self::V6_1];
    /// And the one that is only there when somebody has built it.
    pub const ALL: [Self; 3] = [Self::V6_12, Self::V6_1, Self::Debug];

    fn prefix(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1.",
            Self::V6_12 | Self::Debug => "6.12.",
        }
    }

    /// Whether a kernel release is of this series.
    fn has(self, release: &str) -> bool {
        release.starts_with(self.prefix()) && release.ends_with(DEBUG_SUFFIX) == (self == Self::Debug)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::V6_1 | Self::V6_12 => self.prefix().trim_end_matches('.'),
        })
    }
}

/// An unpacked kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Release, as `uname -r` prints it.
    pub release: String,
    /// Series it is of.
    pub series: Series,
    dir: PathBuf,
}

impl Kernel {
    /// The newest complete kernel of a series in the cache.
    pub fn cached(paths: &Paths, series: Series) -> Option<Self> {
        let mut found: Vec<Self> = fs::read_dir(&paths.cache)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let release = entry.file_name().to_str()?.strip_prefix("linux-")?.to_owned();
                let stamp = fs::read_to_string(entry.path().join(STAMP)).ok()?;
                let usable = series.has(&release) && stamp == WANTED.join("\n");
                usable.then(|| Self {
                    release,
                    series,
                    dir: entry.path(),
                })
            })
            .collect();
        found.sort_by_key(|kernel| version_key(&kernel.release));
        found.pop()
    }

    /// Fetches and unpacks the newest kernel of a series.
    pub fn fetch(paths: &Paths, series: Series) -> Result<Self> {
        let package = newest_package(series)?;
        println!("setup: kernel {series}: {package}");
        let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
        host::download_package(&package, work.path())?;
        let modules = work.path().join("lib/modules");
        let release = only_entry(&modules)?;
        let compressed = work.path().join("boot").join(format!("vmlinuz-{release}"));
        let image =
            fs::read(&compressed).with_context(|| format!("package {package} has no kernel image"))?;
        let vmlinux = work.path().join("vmlinux");
        fs::write(&vmlinux, unpack_vmlinux(&image)?)?;
        let images = Images {
            vmlinux: &vmlinux,
            compressed: &compressed,
        };
        Self::store(paths, &release, images, &modules.join(&release))?;
        Self::cached(paths, series).with_context(|| format!("package {package} has no kernel {series}"))
    }

    /// Puts a kernel into the cache: its images, and of its modules those that guests load.
    pub fn store(paths: &Paths, release: &str, images: Images<'_>, modules: &Path) -> Result<()> {
        let dir = paths.cache.join(format!("linux-{release}"));
        let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
        for (from, name) in [(images.vmlinux, "vmlinux"), (images.compressed, COMPRESSED)] {
            fs::copy(from, work.path().join(name))
                .with_context(|| format!("cannot read {}", from.display()))?;
        }
        Modules::index(modules)?.write(work.path())?;
        fs::write(work.path().join(STAMP), WANTED.join("\n"))?;
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::rename(work.keep(), &dir).with_context(|| format!("cannot move the kernel to {}", dir.display()))
    }

    /// The ELF image; QEMU starts it through PVH, without the decompressor.
    pub fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The image as a boot loader takes it. QEMU writes an ELF image into memory again at every reset, the one that ends a
    /// sleep too, and with it over the running kernel: a guest that sleeps needs this one, which loads itself.
    ///
    /// A cache of an older xtask has none: it is fetched, or built, then.
    pub fn compressed(&self, paths: &Paths) -> Result<PathBuf> {
        let image = self.dir.join(COMPRESSED);
        if image.exists() {
            return Ok(image);
        }
        let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
        let found = if self.series == Series::Debug {
            debug::compressed(paths)?
        } else {
            host::download_package(&format!("linux-image-{}", self.release), work.path())?;
            work.path().join("boot").join(format!("vmlinuz-{}", self.release))
        };
        fs::copy(&found, work.path().join(COMPRESSED))
            .with_context(|| format!("cannot read {}", found.display()))?;
        fs::rename(work.path().join(COMPRESSED), &image)?;
        Ok(image)
    }

    /// Directory with the modules (`*.ko`, `modules.dep`, `modules.builtin`).
    pub fn modules(&self) -> PathBuf {
        self.dir.join("modules")
    }
}

/// Numbers of a version, for comparison: 6.12.117 is newer than 6.12.95.
fn version_key(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The newest package of a series that this machine's package lists offer.
fn newest_package(series: Series) -> Result<String> {
    let pattern = format!("^linux-image-{}", series.prefix().replace('.', "\\."));
    let found = cmd::text(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names: Vec<&str> = found
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    pick_package(series, &names).ok_or_else(|| {
        let pattern = format!("linux-image-{}*-amd64", series.prefix());
        let lack = format!("a package {pattern}: add the Debian suite that has it to apt's sources");
        host::Missing(vec![lack]).into()
    })
}

/// Chooses among package names: the generic flavour, the newest; signed before unsigned (same contents).
fn pick_package(series: Series, names: &[&str]) -> Option<String> {
    let stem = format!("linux-image-{}", series.prefix());
    let generic = |name: &&&str| {
        let rest = name
            .strip_prefix(stem.as_str())
            .map(|rest| rest.trim_end_matches("-unsigned"));
        rest.and_then(|rest| rest.strip_suffix("-amd64"))
            .is_some_and(|version| {
                !["cloud", "rt", "dbg"]
                    .iter()
                    .any(|flavour| version.split('-').any(|part| part == *flavour))
            })
    };
    let newest = names.iter().filter(generic).max_by_key(|name| {
        (
            version_key(name.split("-amd64").next().unwrap_or_default()),
            !name.ends_with("-unsigned"),
        )
    });
    newest.map(|name| (*name).to_owned())
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

/// Takes the ELF image out of a bzImage: boot protocol 2.08 has its place in the setup header.
fn unpack_vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let u32_at = |at: usize| -> Result<usize> {
        let bytes = image
            .get(at..at + 4)
            .context("the kernel image is too short for a boot header")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        bail!("the kernel image is not a bzImage");
    }
    let setup_sectors = usize::from(image[0x1f1]);
    let start = (setup_sectors + 1) * 512 + u32_at(0x248)?;
    let end = start + u32_at(0x24c)?;
    let payload = image
        .get(start..end)
        .context("the kernel image ends before its payload does")?;
    let elf = decompress(payload)?;
    if !elf.starts_with(b"\x7fELF") {
        bail!("the kernel image does not hold an ELF file");
    }
    Ok(elf)
}

/// Decompresses a kernel payload; the kernel's build appends the size in 4 bytes, which must go first.
fn decompress(payload: &[u8]) -> Result<Vec<u8>> {
    let body = payload[..payload.len().saturating_sub(4)].to_vec();
    if payload.starts_with(b"\xfd7zXZ\0") {
        cmd::filter(Command::new("xz").args(["-dc", "--single-stream"]), body)
    } else if payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        cmd::filter(Command::new("zstd").arg("-dc"), body)
    } else if payload.starts_with(&[0x1f, 0x8b]) {
        cmd::filter(Command::new("gzip").arg("-dc"), body)
    } else if payload.starts_with(b"\x7fELF") {
        Ok(payload.to_vec())
    } else {
        bail!("the kernel image is compressed in a way that is not known (xz, zstd and gzip are)")
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
        ];
        let picked = pick_package(Series::V6_12, &names);
        assert_eq!(picked.as_deref(), Some("linux-image-6.12.117+deb12-amd64"));
        assert_eq!(pick_package(Series::V6_1, &names), None);
    }

    #[test]
    fn unsigned_package_serves_when_it_is_alone() {
        let names = [
            "linux-image-6.1.0-9-amd64-unsigned",
            "linux-image-6.1.0-10-amd64-unsigned",
        ];
        let picked = pick_package(Series::V6_1, &names);
        assert_eq!(picked.as_deref(), Some("linux-image-6.1.0-10-amd64-unsigned"));
    }

    #[test]
    fn damaged_images_are_refused() {
        assert!(unpack_vmlinux(b"MZ").is_err());
        let mut image = vec![0_u8; 4096];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack_vmlinux(&image).is_err());
    }
}
