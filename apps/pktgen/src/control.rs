//! Orders from a Unix socket: a JSON object a line, and an answer a line for each.

use barline_app::{Failure, json};
use barline_traffic::Rate;
use pktgen::{Account, Rig};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A socket and who is connected to it. Its file goes with it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    read: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Order {
    Start,
    Stop,
    Rate { rate: String },
    Read,
    Quit,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a Account>,
}

/// A line longer than this is none.
const LONGEST: usize = 4096;
/// Clients at a time.
const MOST: usize = 16;

impl Control {
    /// Makes the socket.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: io::Error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => "remove it if no other pktgen has it, or name another path",
                _ => "name a path in a directory that can be written to",
            };
            Failure::usage(format!("--control {}: {error}; {hint}", path.display()))
        };
        let listener = UnixListener::bind(path).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            clients: Vec::new(),
        })
    }

    /// Does what was asked for since the last call; true where that was to end.
    pub fn attend(&mut self, rig: &mut Rig) -> bool {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client {
                    stream,
                    read: Vec::new(),
                });
            }
        }
        let mut quit = false;
        let mut clients = std::mem::take(&mut self.clients);
        clients.retain_mut(|client| {
            let there = client.read();
            while let Some(line) = client.line() {
                let answer = self.obey(&line, rig, &mut quit);
                // One who does not read his answers is let go.
                if client.stream.write_all(answer.as_bytes()).is_err() {
                    return false;
                }
            }
            there && client.read.len() <= LONGEST
        });
        self.clients = clients;
        quit
    }

    fn obey(&mut self, line: &str, rig: &mut Rig, quit: &mut bool) -> String {
        let mut answer = Answer {
            ok: true,
            error: None,
            rate: None,
            account: None,
        };
        let order =
            serde_json::from_str(line).map_err(|error| barline_traffic::with_nearest(&error.to_string()));
        let account;
        let done = match order {
            Err(error) => Err(error),
            Ok(Order::Start) => {
                rig.send(true);
                Ok(())
            }
            Ok(Order::Stop) => {
                rig.send(false);
                Ok(())
            }
            Ok(Order::Rate { rate }) => rate
                .parse::<Rate>()
                .map_err(|error| error.to_string())
                .and_then(|rate| rig.set_rate(rate).map_err(|error| error.to_string())),
            Ok(Order::Read) => {
                account = rig.account();
                answer.account = Some(&account);
                Ok(())
            }
            Ok(Order::Quit) => {
                *quit = true;
                Ok(())
            }
        };
        answer.rate = Some(rig.rate().to_string());
        if let Err(error) = done {
            (answer.ok, answer.error) = (false, Some(error));
        }
        json(&answer)
    }
}

impl Client {
    /// Reads what there is; false when he is gone.
    fn read(&mut self) -> bool {
        let mut part = [0; 512];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return false,
                Ok(n) => self.read.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_) => return false,
            }
            if self.read.len() > LONGEST {
                return true;
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let end = self.read.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.read.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
