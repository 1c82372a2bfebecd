//! Several queues and workers: together they send what one would, each with numbers of its own.

use barline_traffic::{Found, Mark};
use clap::Parser;
use pcap_file::pcapng::{Block, PcapNgReader};
use pktgen::{Options, Rig, Settings};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No multiple of the numbers of queues.
const COUNT: u64 = 1001;
/// Where the mark stands behind Ethernet, IPv4 and UDP.
const PLACE: usize = 42;

fn rig(ports: &str, more: &[&str]) -> Rig {
    let mut arguments = vec!["pktgen", "--ports", ports, "--rate", "50kpps", "--huge", "none"];
    arguments.extend(["--vary", "udp.src=count", "--count", "1001", "--settle", "50"]);
    arguments.extend(more);
    let settings = Settings::new(&Options::parse_from(arguments)).unwrap();
    Rig::start(&settings, &AtomicBool::new(false)).unwrap()
}

/// Sends everything.
fn run(rig: &mut Rig) {
    rig.begin().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !rig.is_done() {
        assert!(Instant::now() < end, "it does not come to its end");
        sleep(Duration::from_millis(5));
    }
    // What the last burst left in a device is sent by the next look.
    sleep(Duration::from_millis(50));
}

/// Of the frames that a capture has: queue by queue the numbers of packets and the values of the field that counts.
fn sent(path: &Path) -> BTreeMap<u16, Vec<(u64, u64)>> {
    let mut flows = BTreeMap::<u16, Vec<(u64, u64)>>::new();
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap() else {
            continue;
        };
        let frame = &packet.data;
        let Found::Mark(mark) = Mark::read(&frame[PLACE..]) else {
            panic!("no mark: {frame:?}")
        };
        let source = u16::from_be_bytes([frame[34], frame[35]]);
        let flow = flows.entry(mark.flow).or_default();
        flow.push((mark.sequence.into(), source.into()));
    }
    flows
}

#[test]
fn queues_share_the_packets_of_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    for (port, queues) in [("sim:82576", 1), ("sim:82576", 4), ("sim:virtio-net,queues=3", 3)] {
        let text = queues.to_string();
        let path = dir.path().join(&text);
        let captured = format!("{port}+capture={}", path.display());
        let mut rig = rig(&captured, &["--queues", &text]);
        run(&mut rig);
        let (account, result) = rig.stop();
        result.unwrap();
        assert_eq!(
            (account.made, account.sent, account.flows[0].sent),
            (COUNT, COUNT, COUNT)
        );
        assert!(account.balances(), "{account:?}");
        let flows = sent(&path);
        assert_eq!(flows.len() as u64, queues, "{port}");
        for (queue, (flow, numbers)) in (0..).zip(&flows) {
            assert_eq!(u64::from(*flow), queue);
            // As one queue would make them: this one has every so many.
            let share = COUNT / queues + u64::from(queue < COUNT % queues);
            let right: Vec<(u64, u64)> = (0..share)
                .map(|number| (number, number * queues + queue))
                .collect();
            assert_eq!(*numbers, right, "{port}, queue {queue} of {queues}");
        }
    }
}

/// Every worker has its queues of every port, and what comes back on whichever queue is put together.
#[test]
fn what_comes_on_several_queues_is_one_account() {
    let port = "sim:82576,wire=a";
    let mut rig = rig(&format!("{port},{port}"), &["--queues", "4"]);
    run(&mut rig);
    let (account, result) = rig.stop();
    result.unwrap();
    assert_eq!(account.flows.len(), 2);
    for flow in &account.flows {
        assert_eq!(
            (flow.sent, flow.received, flow.lost),
            (COUNT, COUNT, 0),
            "{flow:?}"
        );
        assert_eq!((flow.order.duplicates, flow.order.stale), (0, 0));
        assert_eq!(flow.latency_ns.count, COUNT);
    }
}
