//! The guest's root file system: busybox, modules and scripts, and the payload of one run after it.

use super::kernel::Kernel;
use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::fs;
use std::path::{Path, PathBuf};

const INIT: &str = include_str!("guest/init.sh");
const LIB: &str = include_str!("guest/lib.sh");
const BIND: &str = include_str!("guest/bind.sh");

/// An uncompressed cpio archive in memory: the kernel unpacks it without spending emulated time.
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: 0,
        }
    }

    fn add(&mut self, name: &str, kind: ModeFileType, mode: u32, data: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large for a cpio"))?;
        let entry = Builder::new(name)
            .ino(self.entries)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind);
        let entry = if name == "dev/console" {
            entry.rdev_major(5).rdev_minor(1)
        } else {
            entry
        };
        let mut writer = entry.write(&mut self.bytes, size);
        std::io::Write::write_all(&mut writer, data).context("cannot write a cpio entry")?;
        writer.finish().context("cannot write a cpio entry")?;
        Ok(())
    }

    /// Adds a directory; its parents must be there.
    pub fn dir(&mut self, name: &str) -> Result<()> {
        self.add(name, ModeFileType::Directory, 0o755, &[])
    }

    /// Adds a file that the guest may execute.
    pub fn file(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.add(name, ModeFileType::Regular, 0o755, data)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        trailer(&mut self.bytes).context("cannot end the cpio")?;
        Ok(self.bytes)
    }
}

/// Everything that runs on a kernel have in common.
pub fn base(kernel: &Kernel, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    let modules = format!("lib/modules/{}", kernel.release);
    for dir in ["bin", "dev", "lib", "lib/modules", &modules, "proc", "sys", "tmp"] {
        archive.dir(dir)?;
    }
    // Without this node process 1 would start without standard output.
    archive.add("dev/console", ModeFileType::Char, 0o600, &[])?;
    let bytes = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.file("bin/busybox", &bytes)?;
    archive.file("init", INIT.as_bytes())?;
    archive.file("lib/guest.sh", LIB.as_bytes())?;
    archive.file("bin/bind", BIND.as_bytes())?;
    let mut files: Vec<PathBuf> = fs::read_dir(kernel.modules())
        .context("the cached kernel has no modules: run `cargo xtask setup --update`")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        archive.file(&format!("{modules}/{name}"), &fs::read(&file)?)?;
    }
    archive.finish()
}

/// What one run adds: its script and settings, and files that appear in `/payload`.
pub fn payload(script: &str, settings: &str, files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    archive.file("scenario.sh", script.as_bytes())?;
    archive.file("scenario.env", settings.as_bytes())?;
    archive.dir("payload")?;
    for file in files {
        let name = file
            .file_name()
            .with_context(|| format!("{} is not a file", file.display()))?;
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(&format!("payload/{}", name.to_string_lossy()), &bytes)?;
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_can_be_read_back() {
        let bytes = payload("echo hello\n", "NICS=''\n", &[]).expect("an archive");
        let first = cpio::newc::Reader::new(bytes.as_slice()).expect("an entry");
        assert_eq!(first.entry().name(), "scenario.sh");
        assert_eq!(first.entry().file_size(), 11);
        assert_eq!(first.entry().mode(), 0o100_755);
    }
}
