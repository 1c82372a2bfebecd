//! The live screen: what [`draw`] makes of an account, on the terminal, and keys.

mod draw;

use barline_app::Failure;
use draw::{Picture, draw};
use pktgen::{Account, PortReport, Rig, rate};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;

/// The terminal, in its own mode until this is dropped.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
    view: View,
}

/// What is shown from one picture to the next, and what keys change.
#[derive(Debug, Default)]
struct View {
    before: Account,
    /// Rows of tables, from the one before.
    rates: Vec<[Option<f64>; 2]>,
    /// What went wrong with the last key.
    said: String,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// It is none.
    pub fn open() -> Result<Self, Failure> {
        let terminal = ratatui::try_init();
        let terminal = terminal
            .map_err(|error| Failure::run(format!("no screen: {error}; write --json, or pipe the output")))?;
        Ok(Self {
            terminal,
            view: View::default(),
        })
    }

    /// Shows an account of a rig, with rates since the one before.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn show(&mut self, account: &Account, rig: &Rig) -> Result<(), Failure> {
        self.view.follow(account);
        let picture = self.view.picture(account, rig);
        let drawn = self.terminal.draw(|frame| draw(frame, &picture));
        drawn
            .map(drop)
            .map_err(|error| Failure::run(format!("the terminal is gone: {error}")))
    }

    /// Waits for keys, `limit` at the most, and does what they say; true where that was to end.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn attend(&mut self, rig: &mut Rig, limit: Duration) -> Result<bool, Failure> {
        let gone = |error| Failure::run(format!("the terminal is gone: {error}"));
        if !event::poll(limit).map_err(gone)? {
            return Ok(false);
        }
        match event::read().map_err(gone)? {
            Event::Key(key) if key.kind == KeyEventKind::Press => Ok(self.view.press(key, rig)),
            _ => Ok(false),
        }
    }
}

impl View {
    /// Notes the rates since the account before.
    fn follow(&mut self, account: &Account) {
        let before = std::mem::replace(&mut self.before, account.clone());
        let seconds = account.seconds - before.seconds;
        if seconds > 0.05 {
            let each = |(at, port): (usize, &PortReport)| {
                let old = |name| before.ports.get(at).map_or(0, |old| old.count(name));
                ["tx_packets", "rx_packets"].map(|name| rate(port.count(name), old(name), seconds, port.most))
            };
            self.rates = account.ports.iter().enumerate().map(each).collect();
        }
    }

    fn picture<'a>(&'a self, account: &'a Account, rig: &Rig) -> Picture<'a> {
        Picture {
            account,
            rates: &self.rates,
            asked: rig.rate(),
            paused: rig.is_held(),
            said: &self.said,
        }
    }

    /// Does what a key says; true where that was to end.
    fn press(&mut self, key: KeyEvent, rig: &mut Rig) -> bool {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('p' | ' ') => rig.send(rig.is_held()),
            KeyCode::Char('+') | KeyCode::Up => self.change(rig, 1.1),
            KeyCode::Char('-') | KeyCode::Down => self.change(rig, 1.0 / 1.1),
            KeyCode::Char('*') => self.change(rig, 2.0),
            KeyCode::Char('/') => self.change(rig, 0.5),
            _ => (),
        }
        false
    }

    fn change(&mut self, rig: &mut Rig, by: f64) {
        let rate = rig.rate().times(by);
        self.said = rig
            .set_rate(rate)
            .err()
            .map_or(String::new(), |failure| failure.to_string());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests;
