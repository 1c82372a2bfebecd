//! A file that a network namespace serves, and copies of it that must be whole: checksums of packets that were never made say
//! nothing of what is in them.

use super::qemu::Check;
use super::scenario::Bed;
use crate::cmd;
use crate::netns::world::{Namespace, Running as Program};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where it is served.
pub const PORT: &str = "7000";

/// A file server.
pub struct Files {
    // It ends before the file goes, and before its namespace.
    _server: Program,
    /// The file's SHA-256 in hexadecimal.
    pub sum: String,
    dir: tempfile::TempDir,
}

impl Files {
    /// Makes a file of so many random bytes and serves it, as `/file`.
    pub fn serve(bed: &Bed<'_>, space: &Namespace, bytes: u64) -> Result<Self> {
        // Short: names of sockets are made from it.
        let dir = tempfile::tempdir().context("cannot make a directory")?;
        let path = dir.path().join("file");
        let mut random = File::open("/dev/urandom")?.take(bytes);
        std::io::copy(&mut random, &mut File::create(&path)?).context("cannot make a file")?;
        let said = cmd::text(Command::new("sha256sum").arg(&path))?;
        let mut serve = space.command(&bed.tools.busybox);
        serve.args(["httpd", "-f", "-p", PORT, "-h"]).arg(dir.path());
        serve.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self {
            _server: Program::start(&mut serve)?,
            sum: first(&said),
            dir,
        })
    }

    /// Where the file is; others may stand beside it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Fetches it from another namespace, which knows it at an address.
    pub fn fetch(&self, bed: &Bed<'_>, name: &str, space: &Namespace, address: &str) -> Result<Check> {
        let copy = self.dir.path().join("copy");
        let mut fetch = space.command(&bed.tools.busybox);
        fetch.args(["wget", "-q", "-T", "60", "-O"]).arg(&copy);
        cmd::output(fetch.arg(format!("http://{address}:{PORT}/file")))?;
        let said = first(&cmd::text(Command::new("sha256sum").arg(&copy))?);
        Ok(Check::new(name, said == self.sum, format!("SHA-256 {said}")))
    }
}

fn first(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
