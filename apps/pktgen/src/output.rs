//! What the program prints: JSON for programs, a line a second without a terminal, tables at the end.

use barline_app::{Failure, json, print};
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
    r#type: &'a str,
    ports: &'a [PortReport],
}

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    account: &'a Account,
    /// Packets sent a second, since the line before; in the summary since the start.
    rate: f64,
}

#[derive(Serialize)]
struct Results<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    report: &'a Report,
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
            r#type: "started",
            ports: &account.ports,
        };
        print(&json(&started))
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
        let line = Results {
            r#type: "rfc2544",
            report,
        };
        print(&json(&line)).map(drop)
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
    let seconds = account.seconds - before.seconds;
    if seconds > 0.0 {
        account.sent.saturating_sub(before.sent) as f64 / seconds
    } else {
        0.0
    }
}

fn line(kind: &str, account: &Account, before: &Account) -> String {
    json(&Line {
        r#type: kind,
        account,
        rate: sent_rate(account, before).round(),
    })
}

/// One line: for a log.
fn plain(account: &Account, before: &Account) -> String {
    let came = |account: &Account| account.dropped.get("measured").copied().unwrap_or(0);
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
