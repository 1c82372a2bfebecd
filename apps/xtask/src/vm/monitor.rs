//! QEMU's monitor for people (HMP), spoken by a scenario: hot-plug, errors on the bus.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a guest's monitor listens.
#[derive(Clone, Debug)]
pub struct Monitor(PathBuf);

const PROMPT: &[u8] = b"(qemu) ";
const LIMIT: Duration = Duration::from_secs(10);

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

    /// Says a command.
    ///
    /// # Errors
    /// QEMU's word.
    pub fn say(&self, command: &str) -> Result<()> {
        let said = self.ask(command)?;
        ensure!(!said.contains("rror:"), "{command}: {said}");
        Ok(())
    }

    /// Says a command and returns what QEMU prints, with the terminal codes of its echo.
    pub fn ask(&self, command: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.0).context("QEMU's monitor does not listen")?;
        stream
            .set_read_timeout(Some(LIMIT))
            .context("cannot limit a read")?;
        until_prompt(&mut stream)?;
        writeln!(stream, "{command}").context("QEMU's monitor does not take commands")?;
        until_prompt(&mut stream)
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
