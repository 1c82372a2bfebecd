//! Stock kernels for the guests, fetched as Debian packages and unpacked without being installed.

mod image;
mod modules;
mod package;

use crate::host;
use crate::kmod::debug;
use crate::paths::Paths;
use anyhow::{Context, Result};
use image::unpack_vmlinux;
use modules::{Modules, WANTED};
pub use package::lack;
use package::{Unpacked, version_key};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// The newest that Debian has for a stable release, for scenarios that need what older ones lack.
    #[value(name = "newest")]
    Newest,
}

/// The oldest kernel that will do as the newest: with AF_XDP's zero copy in igb and in virtio_net.
const NEW: [u64; 2] = [6, 14];

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
            Self::Newest => "",
        }
    }

    /// Whether a kernel release is of this series.
    fn has(self, release: &str) -> bool {
        let new = self != Self::Newest || version_key(release).as_slice() >= NEW.as_slice();
        new && release.starts_with(self.prefix()) && release.ends_with(DEBUG_SUFFIX) == (self == Self::Debug)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Newest => "newest",
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
        let work = tempfile::tempdir_in(&paths.cache).context("cannot make a directory in the cache")?;
        let Unpacked {
            release,
            image: compressed,
            modules,
        } = package::unpack(paths, series, work.path())?;
        let image = fs::read(&compressed).with_context(|| format!("cannot read {}", compressed.display()))?;
        let vmlinux = work.path().join("vmlinux");
        fs::write(&vmlinux, unpack_vmlinux(&image)?)?;
        let images = Images {
            vmlinux: &vmlinux,
            compressed: &compressed,
        };
        Self::store(paths, &release, images, &modules)?;
        Self::cached(paths, series)
            .with_context(|| format!("the kernel {release} is not of the series {series}"))
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
