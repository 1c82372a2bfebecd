//! Huge pages for the time of a run.

use crate::host::Missing;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// Huge pages that were reserved here; when this goes away, there are as many as before.
#[derive(Debug)]
pub struct HugePages {
    file: PathBuf,
    before: Option<u64>,
}

impl HugePages {
    /// Makes sure that `pages` of 2 MiB are free.
    pub fn reserve(pages: u64) -> Result<Self> {
        Self::reserve_in(Path::new(DIRECTORY), pages)
    }

    fn reserve_in(directory: &Path, pages: u64) -> Result<Self> {
        let read = |name: &str| -> Result<u64> {
            let path = directory.join(name);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            text.trim()
                .parse()
                .with_context(|| format!("{} is no number", path.display()))
        };
        let (all, free) = (read("nr_hugepages")?, read("free_hugepages")?);
        let file = directory.join("nr_hugepages");
        if free >= pages {
            return Ok(Self { file, before: None });
        }
        let wanted = all + pages - free;
        let lacking = |why: String| {
            let path = file.display();
            Missing(vec![format!(
                "{pages} free huge pages of 2 MiB ({why}): as root, `echo {wanted} > {path}`"
            )])
        };
        fs::write(&file, wanted.to_string()).map_err(|error| lacking(error.to_string()))?;
        let reserved = Self {
            file: file.clone(),
            before: Some(all),
        };
        let got = read("nr_hugepages")?;
        if got < wanted {
            return Err(lacking(format!("the kernel found memory for {got} of {wanted}")).into());
        }
        Ok(reserved)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(error) = fs::write(&self.file, before.to_string())
        {
            eprintln!("cannot set {} back to {before}: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_reserved_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let number = dir.path().join("nr_hugepages");
        let count = || fs::read_to_string(&number).unwrap().trim().to_owned();
        fs::write(&number, "10\n").unwrap();
        fs::write(dir.path().join("free_hugepages"), "4\n").unwrap();
        let kept = HugePages::reserve_in(dir.path(), 4).unwrap();
        assert_eq!(count(), "10");
        drop(kept);
        let more = HugePages::reserve_in(dir.path(), 100).unwrap();
        assert_eq!(count(), "106");
        drop(more);
        assert_eq!(count(), "10");
    }
}
