//! A file that a network namespace serves, and copies of it that must be whole: checksums of packets that were never made say
//! nothing of what is in them.

use super::qemu::Check;
use super::scenario::Bed;
use crate::cmd;
use crate::netns::world::{Namespace, Running as Program};
use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Where it is served.
const PORT: u16 = 7000;
/// Longest time without a byte.
const PATIENCE: Duration = Duration::from_secs(60);

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
        serve
            .args(["httpd", "-f", "-p", &PORT.to_string(), "-h"])
            .arg(dir.path());
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
    pub fn fetch(&self, name: &str, space: &Namespace, address: [u8; 4]) -> Result<Check> {
        let thread = space.run(move || get(address));
        let copy = thread.join().map_err(|_| anyhow!("fetching a file panicked"))??;
        let whole = std::fs::read(self.dir.path().join("file"))?;
        let text = format!("{} bytes of {}", copy.len(), whole.len());
        Ok(Check::new(name, copy == whole, text))
    }
}

/// The file, by HTTP 1.0: what comes behind the first empty line.
fn get(address: [u8; 4]) -> Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /file HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("the file does not come")?;
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n");
    Ok(answer.split_off(at.context("no HTTP")? + 4))
}

/// The server was started a moment ago.
fn connect(address: [u8; 4]) -> Result<TcpStream> {
    let mut last = None;
    for _ in 0..500 {
        match TcpStream::connect((Ipv4Addr::from(address), PORT)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(20));
    }
    Err(last.context("nobody connected")?).context("no file server")
}

fn first(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
