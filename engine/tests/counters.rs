//! The page about counters says what the code says.

use barline::telemetry::{CounterDoc, DEVICE_COUNTERS, RxCounters, TxCounters};

const PAGE: &str = include_str!("../docs/counters.md");

/// The rows of a section's table.
fn rows(section: &str) -> Vec<(String, String)> {
    let start = PAGE.find(&format!("\n## {section}\n")).expect("the section");
    let lines = PAGE[start + 1..]
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    lines
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
        .map(|(name, meaning)| (name.to_owned(), meaning.to_owned()))
        .collect()
}

fn table(counters: &[CounterDoc]) -> Vec<(String, String)> {
    let own = |(name, meaning): &CounterDoc| ((*name).to_owned(), meaning.trim().to_owned());
    counters.iter().map(own).collect()
}

#[test]
fn the_page_is_the_code() {
    assert_eq!(rows("A receive queue"), table(RxCounters::TABLE));
    assert_eq!(rows("A transmit queue"), table(TxCounters::TABLE));
    assert_eq!(rows("The device"), table(DEVICE_COUNTERS));
}

#[test]
fn each_shows_every_counter() {
    let mut names = Vec::new();
    RxCounters::default().each(|name, _| names.push(name));
    TxCounters::default().each(|name, _| names.push(name));
    let tables = RxCounters::TABLE.iter().chain(TxCounters::TABLE);
    assert_eq!(names, tables.map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn no_name_is_taken_twice() {
    let all = [RxCounters::TABLE, TxCounters::TABLE, DEVICE_COUNTERS].concat();
    let mut names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
