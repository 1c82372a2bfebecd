//! What a user reads when a file cannot be had: the cause, and what to do about it.

use barline_pcap::{Options, Pcap};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The header of a classic file for frames of this type of network: microseconds, little-endian, version 2.4.
fn classic(link: u32) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link];
    words.map(u32::to_le_bytes).concat()
}

const ETHERNET: u32 = 1;

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn reads(path: &Path) -> Options {
    Options {
        rx: Some(path.to_owned()),
        ..Options::default()
    }
}

/// Both must be there: without the cause nobody knows what to mend, without the remedy not how.
#[track_caller]
fn says(options: &Options, cause: &str, remedy: &str) {
    let text = Pcap::open(options).expect_err("it cannot be opened").to_string();
    assert!(text.contains(cause), "{text:?} has not the cause {cause:?}");
    assert!(text.contains(remedy), "{text:?} has not the remedy {remedy:?}");
}

#[test]
fn a_file_that_is_missing() {
    let desk = Desk::new();
    let folder = desk.0.path().display().to_string();
    let missing = desk.0.path().join("none.pcap");
    says(
        &reads(&missing),
        &format!("{folder}/none.pcap: No such file"),
        &format!("name one that is there: ls {folder}"),
    );
    let lost = desk.0.path().join("no/folder/a.pcap");
    says(
        &reads(&lost),
        "no/folder/a.pcap",
        &format!("there is no folder {folder}/no/folder"),
    );
    let nowhere = Options {
        tx: Some(lost),
        ..Options::default()
    };
    says(&nowhere, "no/folder/a.pcap", "there is no folder");
    says(&Options::default(), "names no file", "pcap:rx=FILE");
}

#[test]
fn a_file_that_is_none() {
    let desk = Desk::new();
    says(&reads(desk.0.path()), "is no regular file", "copy it to one");
    let text = desk.file("text", b"this is no capture file at all");
    says(
        &reads(&text),
        "text is no capture file",
        "as tcpdump -w writes them",
    );
    let empty = desk.file("empty", b"");
    says(
        &reads(&empty),
        "empty is no capture file that can be read (it is cut off)",
        "as tcpdump -w writes them",
    );
    let whole = classic(ETHERNET);
    for len in 1..whole.len() {
        let cut = desk.file("cut", &whole[..len]);
        says(&reads(&cut), "(it is cut off)", "name one of pcap or pcapng");
    }
    assert!(Pcap::open(&reads(&desk.file("cut", &whole))).is_ok());
}

#[test]
fn a_file_of_another_network() {
    let desk = Desk::new();
    // Numbers of pcap-linktype(7); the last is of no network.
    for (link, name) in [(113u32, "LINUX_SLL"), (105, "IEEE802_11"), (60_000, "60000")] {
        let other = desk.file("other", &classic(link));
        says(&reads(&other), name, "tcpdump -i NAME -w FILE");
    }
}

#[test]
fn a_file_that_is_in_use() {
    let desk = Desk::new();
    let (one, two) = (desk.file("one", &classic(ETHERNET)), desk.0.path().join("two"));
    let both = |rx: &Path, tx: &Path| Options {
        tx: Some(tx.to_owned()),
        ..reads(rx)
    };
    says(
        &both(&one, &one),
        "one is to be read and written",
        "another file for tx",
    );
    let port = Pcap::open(&both(&one, &two)).unwrap();
    says(&both(&one, &two), "two is in use", "name another file");
    drop(port);
    assert!(Pcap::open(&both(&one, &two)).is_ok());
}
