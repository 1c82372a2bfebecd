//! What the program prints: JSON for programs, a table on a terminal, a closing summary for both.

use barline_app::{print, rated, tagged};
use l2fwd::{Account, Failure, Incident, Settings, table};
use serde::Serialize;
use std::io::{IsTerminal, stdout};

/// Standard output, in one of its three forms.
#[derive(Debug)]
pub struct Output {
    json: bool,
    terminal: bool,
    first: Account,
    before: Account,
    /// Lines of the table on the screen.
    lines: usize,
}

#[derive(Serialize)]
struct Started<'a> {
    ports: Vec<StartedPort<'a>>,
    queues: u16,
    burst: usize,
    cores: Vec<Option<usize>>,
}

#[derive(Serialize)]
struct StartedPort<'a> {
    port: &'a str,
    mac: &'a str,
    link: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    to: usize,
}

impl Output {
    /// JSON if that is wanted, else tables, which are redrawn on a terminal.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            terminal: stdout().is_terminal(),
            first: Account::default(),
            before: Account::default(),
            lines: 0,
        }
    }

    /// Forwarding has begun. Like [`Output::stats`], false when nobody reads any more.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn started(&mut self, account: &Account, settings: &Settings) -> Result<bool, Failure> {
        (self.first, self.before) = (account.clone(), account.clone());
        if !self.json {
            return Ok(true);
        }
        let ports = account.ports.iter().enumerate().map(|(at, port)| StartedPort {
            port: &port.port,
            mac: &port.mac,
            link: port.link,
            mode: port.mode.as_deref(),
            to: settings.partner(at),
        });
        let cores = settings.workers.iter().map(|core| core.map(|core| core.number()));
        let started = Started {
            ports: ports.collect(),
            queues: settings.queues,
            burst: settings.burst,
            cores: cores.collect(),
        };
        print(&tagged("started", &started))
    }

    /// Something happened to a port.
    ///
    /// # Errors
    /// As [`Output::started`].
    pub fn incident(&mut self, incident: &Incident) -> Result<bool, Failure> {
        eprintln!("l2fwd: {incident}");
        // The table goes below the message.
        self.lines = 0;
        if !self.json {
            return Ok(true);
        }
        print(&tagged("event", incident))
    }

    /// A second has passed.
    ///
    /// # Errors
    /// As [`Output::started`].
    pub fn stats(&mut self, account: &Account) -> Result<bool, Failure> {
        let before = std::mem::replace(&mut self.before, account.clone());
        if self.json {
            return print(&line("stats", account, &before));
        }
        if !self.terminal {
            return Ok(true);
        }
        let text = self.redrawn(&table(account, &before));
        self.lines = text.lines().count();
        print(&text)
    }

    /// The end. Whether anybody reads it makes no difference any more.
    ///
    /// # Errors
    /// As [`Output::started`].
    pub fn summary(&mut self, account: &Account) -> Result<(), Failure> {
        let text = if self.json {
            line("summary", account, &self.first)
        } else {
            self.redrawn(&table(account, &self.first))
        };
        print(&text).map(drop)
    }

    /// Puts the table over the one before: to the first column, up as many lines, then clear to the end of the screen
    /// (ECMA-48 CR, CUU, ED).
    fn redrawn(&self, text: &str) -> String {
        match self.lines {
            0 => text.to_owned(),
            // From the first column: the terminal echoes Ctrl-C where the cursor is.
            lines => format!("\r\x1b[{lines}A\x1b[J{text}"),
        }
    }
}

fn line(kind: &str, account: &Account, before: &Account) -> String {
    rated(kind, account, account.rate(before))
}
