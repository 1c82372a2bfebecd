//! `barline ports` on the machine at hand.

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_barline"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_list_is_for_people_and_for_programs() {
    let (code, text, _) = run(&["ports"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("sim:82576") && text.contains("/dev/net/tun"),
        "{text}"
    );
    let (code, lines, _) = run(&["ports", "--json"]);
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, rows) = lines.split_last().unwrap();
    assert_eq!(
        (&last["type"], &last["ports"]),
        (&"summary".into(), &rows.len().into())
    );
    assert!(
        rows.iter()
            .all(|row| row["type"] == "port" && row["name"].is_string())
    );
    let ready = rows
        .iter()
        .filter(|row| row.get("port").is_some() && row.get("missing").is_none());
    assert_eq!(last["ready"], ready.count());
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(run(&["prots"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}
