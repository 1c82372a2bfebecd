//! The live screen: ports, streams, latency, and keys.

use barline_app::Failure;
use barline_traffic::{Buckets, Rate};
use pktgen::{Account, Rig, rate};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use std::time::Duration;

/// The terminal, in its own mode until this is dropped.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
    before: Account,
    /// Rows of tables, from the one before.
    rates: Vec<[Option<f64>; 2]>,
    /// What went wrong with the last key.
    said: String,
    paused: bool,
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
            before: Account::default(),
            rates: Vec::new(),
            said: String::new(),
            paused: false,
        })
    }

    /// Shows an account, with rates since the one before.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn show(&mut self, account: &Account, asked: Rate) -> Result<(), Failure> {
        let before = std::mem::replace(&mut self.before, account.clone());
        let seconds = account.seconds - before.seconds;
        if seconds > 0.05 {
            let each = |(at, port): (usize, &pktgen::PortReport)| {
                let old = |name| before.ports.get(at).map_or(0, |old| old.count(name));
                ["tx_packets", "rx_packets"].map(|name| rate(port.count(name), old(name), seconds, port.most))
            };
            self.rates = account.ports.iter().enumerate().map(each).collect();
        }
        let (rates, said, paused) = (&self.rates, &self.said, self.paused);
        let drawn = self
            .terminal
            .draw(|frame| draw(frame, account, rates, asked, said, paused));
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
        let Event::Key(key) = event::read().map_err(gone)? else {
            return Ok(false);
        };
        if key.kind != KeyEventKind::Press {
            return Ok(false);
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(true),
            KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                rig.send(!self.paused);
            }
            KeyCode::Char('+') | KeyCode::Up => self.change(rig, 1.1),
            KeyCode::Char('-') | KeyCode::Down => self.change(rig, 1.0 / 1.1),
            KeyCode::Char('*') => self.change(rig, 2.0),
            KeyCode::Char('/') => self.change(rig, 0.5),
            _ => (),
        }
        Ok(false)
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

fn draw(
    frame: &mut Frame<'_>,
    account: &Account,
    rates: &[[Option<f64>; 2]],
    asked: Rate,
    said: &str,
    paused: bool,
) {
    let flows = account.flows.len().min(8) as u16;
    let [top, ports, streams, latency, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(account.ports.len() as u16 + 3),
        Constraint::Length(flows + 3),
        Constraint::Min(6),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    let state = if paused { "paused" } else { "sending" };
    let title = format!(
        "pktgen  {:.0} s  {state}  asked for: {asked} a port",
        account.seconds
    );
    frame.render_widget(Line::from(title).bold(), top);
    frame.render_widget(port_table(account, rates), ports);
    frame.render_widget(stream_table(account), streams);
    let mut all = Buckets::new();
    account.flows.iter().for_each(|flow| all.add(&flow.buckets));
    let bars = powers(&all);
    let group = BarGroup::default().bars(&bars);
    let chart = BarChart::default().data(group).bar_width(9).bar_gap(1);
    frame.render_widget(chart.block(Block::bordered().title(" latency, up to ")), latency);
    let keys = "p pause   + - rate by a tenth   * / twice, half   q end";
    let late = format!(
        "packets left late by p50 {} ns, p99 {} ns   {said}",
        account.pacing.p50, account.pacing.p99
    );
    let [one, two] = Layout::vertical([Constraint::Length(1); 2]).areas(bottom);
    frame.render_widget(Line::from(late), one);
    frame.render_widget(Line::from(keys).style(Style::new().reversed()), two);
}

fn port_table<'a>(account: &Account, rates: &[[Option<f64>; 2]]) -> Table<'a> {
    let pps = |rate: Option<f64>| rate.map_or("above line".to_owned(), |rate| format!("{:.1}", rate / 1e3));
    let rows = account.ports.iter().enumerate().map(|(at, port)| {
        let [tx, rx] = rates.get(at).copied().unwrap_or([Some(0.0); 2]);
        Row::new([
            format!("{at} {}", port.port),
            port.link.to_string(),
            port.count("tx_packets").to_string(),
            pps(tx),
            port.count("rx_packets").to_string(),
            pps(rx),
        ])
    });
    let header = Row::new(["port", "Mbit/s", "sent", "kpps", "received", "kpps"]).bold();
    let widths = [30, 7, 14, 10, 14, 10].map(Constraint::Length);
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(header)
        .block(Block::bordered().title(" ports "))
}

fn stream_table<'a>(account: &Account) -> Table<'a> {
    let rows = account.flows.iter().take(8).map(|flow| {
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        Row::new([
            format!("{}.{}", flow.port, flow.stream),
            flow.sent.to_string(),
            flow.lost.to_string(),
            flow.order.duplicates.to_string(),
            flow.order.reordered.to_string(),
            us(flow.latency_ns.p50),
            us(flow.latency_ns.p99),
            us(flow.latency_ns.max),
            us(flow.jitter_ns),
        ])
    });
    let header = Row::new([
        "stream",
        "sent",
        "not here",
        "twice",
        "reordered",
        "p50 us",
        "p99 us",
        "max us",
        "jitter",
    ])
    .bold();
    let widths = [10, 14, 10, 8, 10, 9, 9, 10, 8].map(Constraint::Length);
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(header)
        .block(Block::bordered().title(" streams "))
}

/// Counts by powers of two.
fn powers<'a>(all: &Buckets) -> Vec<Bar<'a>> {
    let mut counts = std::collections::BTreeMap::<u32, u64>::new();
    for (_, last, count) in all.filled() {
        *counts.entry(last.max(1).ilog2() + 1).or_default() += count;
    }
    let label = |power: u32| {
        let ns = 1u64 << power.min(62);
        match ns {
            ..1_000 => format!("{ns} ns"),
            1_000..1_000_000 => format!("{:.0} us", ns as f64 / 1e3),
            _ => format!("{:.0} ms", ns as f64 / 1e6),
        }
    };
    let bar = |(power, count): (u32, u64)| Bar::default().value(count).label(Line::from(label(power)));
    counts.into_iter().map(bar).collect()
}
