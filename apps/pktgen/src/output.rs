//! What the program prints: JSON for programs, a line a second without a terminal, tables at the end.

use barline_app::{Failure, a_second, count, print, rated, tagged};
use barline_traffic::rfc2544::Report;
use pktgen::{Account, PortReport, text};
use serde::Serialize;
use std::io::{IsTerminal, stdin, stdout};

/// Standard output, in one of its forms.
#[derive(Debug)]
pub struct Output {
    json: bool,
    terminal: bool,
    first: Account,
    before: Account,
}

#[derive(Serialize)]
struct Started<'a> {
    ports: &'a [PortReport],
}

impl Output {
    /// JSON if that is wanted, else text.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            terminal: stdout().is_terminal(),
            first: Account::default(),
            before: Account::default(),
        }
    }

    /// Whether there is a terminal for a live screen.
    pub fn wants_screen(&self) -> bool {
        !self.json && self.terminal && stdin().is_terminal()
    }

    /// Sending is about to begin. Like [`Output::stats`], false when nobody reads any more.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn started(&mut self, account: &Account) -> Result<bool, Failure> {
        (self.first, self.before) = (account.clone(), account.clone());
        (self.first.seconds, self.before.seconds) = (0.0, 0.0);
        if !self.json {
            return Ok(true);
        }
        let started = Started {
            ports: &account.ports,
        };
        print(&tagged("started", &started))
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
        print(&plain(account, &before))
    }

    /// Results of RFC 2544.
    ///
    /// # Errors
    /// As [`Output::started`].
    pub fn report(&mut self, report: &Report) -> Result<(), Failure> {
        print(&tagged("rfc2544", report)).map(drop)
    }

    /// The end. Whether anybody reads it makes no difference any more.
    ///
    /// # Errors
    /// As [`Output::started`].
    pub fn summary(&mut self, account: &Account) -> Result<(), Failure> {
        let text = match self.json {
            true => line("summary", account, &self.first),
            false => text(account, &self.first),
        };
        print(&text).map(drop)
    }
}

fn sent_rate(account: &Account, before: &Account) -> f64 {
    a_second(account.sent, before.sent, account.seconds - before.seconds)
}

fn line(kind: &str, account: &Account, before: &Account) -> String {
    rated(kind, account, sent_rate(account, before))
}

/// One line: for a log.
fn plain(account: &Account, before: &Account) -> String {
    let came = |account: &Account| count(&account.dropped, "measured");
    let worst = account.flows.iter().max_by_key(|flow| flow.latency_ns.p99);
    let latency = worst.map_or(String::new(), |flow| {
        let us = |ns| ns as f64 / 1e3;
        let latency = &flow.latency_ns;
        format!(
            ", latency p50 {:.1} us p99 {:.1} us",
            us(latency.p50),
            us(latency.p99)
        )
    });
    format!(
        "{:.0} s: sent {} ({:.1} kpps), received {}, on the way or lost {}{latency}\n",
        account.seconds,
        account.sent,
        sent_rate(account, before) / 1e3,
        came(account),
        account.lost,
    )
}
