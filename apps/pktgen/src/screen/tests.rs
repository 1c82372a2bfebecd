use super::draw::{Picture, draw};
use super::*;
use barline_traffic::{Buckets, Order, Rate};
use clap::Parser;
use pktgen::{FlowReport, Options, Settings};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// What the picture below is to look like.
const SNAPSHOT: &str = include_str!("snapshot.txt");

fn port(name: &str, sent: u64, received: u64) -> PortReport {
    PortReport {
        port: name.to_owned(),
        link: 10_000,
        most: 14_880_952.0,
        queues: BTreeMap::from([("tx_packets", sent), ("rx_packets", received)]),
        ..PortReport::default()
    }
}

/// Two ports, one of which sends two streams; what the account shows after so many seconds.
fn account(seconds: f64) -> Account {
    let sent = (seconds * 1e6) as u64;
    let mut buckets = Buckets::new();
    for (ns, packets) in [(700, 5), (3_000, 40), (5_000, 12), (2_500_000, 1)] {
        (0..packets).for_each(|_| buckets.record(ns));
    }
    let flow = |name: &str, lost: u64| FlowReport {
        port: 0,
        stream: name.to_owned(),
        sent: sent / 2,
        received: sent / 2 - lost,
        lost,
        marked: true,
        order: Order {
            duplicates: 7,
            reordered: 3,
            ..Order::default()
        },
        latency_ns: buckets.summary(),
        jitter_ns: 1_500,
        buckets: buckets.clone(),
    };
    let mut late = Buckets::new();
    (0..100).for_each(|ns| late.record(ns));
    Account {
        seconds,
        flows: vec![flow("voice", 21), flow("bulk", 0)],
        ports: vec![
            port("pci:0000:01:00.0", sent, 0),
            port("sim:82576,wire=a", 0, sent - 21),
        ],
        pacing: late.summary(),
        ..Account::default()
    }
}

/// The lines of a picture, without blanks at their ends.
fn lines(picture: &Picture<'_>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(98, 24)).unwrap();
    terminal.draw(|frame| draw(frame, picture)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(buffer.area.width.into());
    let row = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
    rows.map(|cells| row(cells).trim_end().to_owned()).collect()
}

#[test]
fn ports_streams_loss_latency_and_keys_are_on_the_screen() {
    let mut view = View::default();
    view.follow(&account(1.0));
    let now = account(3.0);
    view.follow(&now);
    let picture = Picture {
        account: &now,
        rates: &view.rates,
        asked: Rate::Percent(50.0),
        paused: false,
        said: "",
    };
    let seen = lines(&picture);
    let wanted: Vec<&str> = SNAPSHOT.lines().collect();
    assert_eq!(seen, wanted, "\n{}\n", seen.join("\n"));
    let paused = Picture {
        paused: true,
        said: "too fast",
        ..picture
    };
    let other = lines(&paused);
    let changed: Vec<&String> = other.iter().filter(|line| !seen.contains(line)).collect();
    assert!(
        matches!(changed[..], [top, bottom] if top.contains("paused") && bottom.ends_with("too fast")),
        "{changed:?}"
    );
}

/// What cannot be is not shown: more than the line takes.
#[test]
fn a_rate_above_the_line_is_not_drawn() {
    let mut view = View::default();
    view.follow(&account(1.0));
    let mut now = account(3.0);
    now.ports[0] = port("pci:0000:01:00.0", 100_000_000, 0);
    view.follow(&now);
    assert_eq!(view.rates, [[None, Some(0.0)], [Some(0.0), Some(1e6)]]);
    // Two pictures at once tell no rate: the last one stays.
    view.follow(&account(3.01));
    assert_eq!(view.rates[1], [Some(0.0), Some(1e6)]);
}

#[test]
fn keys_pause_change_the_rate_and_end() {
    let options = Options::parse_from([
        "pktgen",
        "--ports",
        "sim:82576,wire=a,sim:82576,wire=a",
        "--rate",
        "10kpps",
        "--huge",
        "none",
        "--settle",
        "1",
    ]);
    let settings = Settings::new(&options).unwrap();
    let mut rig = Rig::start(&settings, &AtomicBool::new(false)).unwrap();
    let mut view = View::default();
    let mut press = |code, rig: &mut Rig| {
        let end = view.press(KeyEvent::new(code, KeyModifiers::NONE), rig);
        (end, view.said.clone())
    };
    let rate = |rig: &Rig| match rig.rate() {
        Rate::Packets(rate) => rate.round(),
        other => panic!("{other}"),
    };
    for (key, wanted) in [
        (KeyCode::Char('*'), 20_000.0),
        (KeyCode::Up, 22_000.0),
        (KeyCode::Char('-'), 20_000.0),
        (KeyCode::Char('/'), 10_000.0),
        (KeyCode::Char('x'), 10_000.0),
    ] {
        assert_eq!(press(key, &mut rig), (false, String::new()));
        assert_eq!(rate(&rig), wanted, "{key:?}");
    }
    // Above the line's rate nothing changes, and it is said.
    let mut said = String::new();
    for _ in 0..12 {
        said = press(KeyCode::Char('*'), &mut rig).1;
    }
    assert!(said.contains("more than the line takes"), "{said}");
    assert!(rate(&rig) < 1_488_096.0);
    for held in [true, false] {
        press(KeyCode::Char('p'), &mut rig);
        assert_eq!(rig.is_held(), held);
    }
    assert!(press(KeyCode::Char('q'), &mut rig).0 && press(KeyCode::Esc, &mut rig).0);
    rig.stop().1.unwrap();
}
