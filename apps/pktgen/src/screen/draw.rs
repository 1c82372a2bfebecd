//! A picture of an account: ports, streams, latency, and what keys there are.

use barline_traffic::{Buckets, Rate};
use pktgen::Account;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Row, Table};

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Now.
    pub account: &'a Account,
    /// Packets a second of each port, sent and received; none where that is above the line's rate.
    pub rates: &'a [[Option<f64>; 2]],
    /// The rate that was asked for.
    pub asked: Rate,
    /// Whether nothing is sent because somebody said so.
    pub paused: bool,
    /// What went wrong with the last key.
    pub said: &'a str,
}

/// Draws it.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture<'_>) {
    let Picture {
        account,
        rates,
        asked,
        paused,
        said,
    } = *picture;
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
