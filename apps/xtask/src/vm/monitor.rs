//! QEMU's monitor for people (HMP), spoken by a scenario: hot-plug, errors on the bus.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a guest's monitor listens.
#[derive(Debug)]
pub struct Monitor(PathBuf);

const PROMPT: &[u8] = b"(qemu) ";
const LIMIT: Duration = Duration::from_secs(60);

impl Monitor {
    /// A socket in `dir`, whose name must be short.
    pub fn new(dir: &Path) -> Self {
        Self(dir.join("hmp"))
    }

    /// QEMU's arguments for it.
    pub fn arguments(&self) -> [String; 4] {
        let socket = format!("socket,id=hmp,path={},server=on,wait=off", self.0.display());
        let monitor = "chardev=hmp,mode=readline";
        [
            "-chardev".to_owned(),
            socket,
            "-mon".to_owned(),
            monitor.to_owned(),
        ]
    }

    /// Says a command; what QEMU prints to it is an error.
    pub fn say(&self, command: &str) -> Result<()> {
        let mut stream = UnixStream::connect(&self.0).context("QEMU's monitor does not listen")?;
        stream
            .set_read_timeout(Some(LIMIT))
            .context("cannot limit a read")?;
        until_prompt(&mut stream)?;
        writeln!(stream, "{command}").context("QEMU's monitor does not take commands")?;
        let said = until_prompt(&mut stream)?;
        // The command itself comes back too, letter by letter with terminal codes.
        ensure!(!said.contains("rror:"), "{command}: {said}");
        Ok(())
    }
}

fn until_prompt(stream: &mut UnixStream) -> Result<String> {
    let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
    while !said.ends_with(PROMPT) {
        let read = stream.read(&mut buffer).context("QEMU's monitor says nothing")?;
        ensure!(read > 0, "QEMU's monitor hung up");
        said.extend_from_slice(&buffer[..read]);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
