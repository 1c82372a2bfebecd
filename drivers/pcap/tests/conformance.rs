//! The suite, over capture files: what the far end injects is appended to the file that the port plays, what it takes is read
//! from the file that the port writes.

use barline::port::{Port, PortError};
use barline_conformance::{FarEnd, Station, Subject};
use barline_pcap::{Options, Pcap};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

#[derive(Debug)]
struct OnFiles;

#[derive(Debug)]
struct Files {
    dir: TempDir,
    /// Frames of the written file that were taken.
    taken: AtomicUsize,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl FarEnd for Files {
    fn inject(&self, frame: &[u8]) -> bool {
        let len = frame.len() as u32;
        let packet = PcapPacket::new(Duration::ZERO, len, frame);
        // A writer begins with a header: one of nothing, and what it writes behind that is the record.
        let mut bytes = PcapWriter::with_header(Vec::new(), header()).unwrap();
        let skip = 24;
        bytes.write_packet(&packet).unwrap();
        let bytes = bytes.into_writer();
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.path("rx.pcap"))
            .unwrap();
        std::io::Write::write_all(&mut file, &bytes[skip..]).is_ok()
    }

    /// Whole records are written, and that only: a file can be read from its start at any time.
    fn take(&self) -> Option<Vec<u8>> {
        let mut reader = PcapReader::new(File::open(self.path("tx.pcap")).ok()?).ok()?;
        let next = self.taken.load(Ordering::Relaxed);
        for _ in 0..next {
            reader.next_packet()?.ok()?;
        }
        let frame = reader.next_packet()?.ok()?.data.into_owned();
        self.taken.store(next + 1, Ordering::Relaxed);
        Some(frame)
    }

    fn pending(&self) -> usize {
        0
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }
}

fn header() -> PcapHeader {
    PcapHeader {
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    }
}

fn station() -> Station {
    let far = Arc::new(Files {
        dir: TempDir::new().unwrap(),
        taken: AtomicUsize::new(0),
    });
    let [rx, tx] = ["rx.pcap", "tx.pcap"].map(|name| far.path(name));
    PcapWriter::with_header(File::create(&rx).unwrap(), header()).unwrap();
    let options = Options {
        rx: Some(rx),
        tx: Some(tx),
        ..Options::default()
    };
    let ours = far.clone();
    let open = Box::new(move || {
        ours.taken.store(0, Ordering::Relaxed);
        let port = Pcap::open(&options).map_err(|error| PortError::Config(error.to_string()))?;
        Ok(Box::new(port) as Box<dyn Port>)
    });
    Station { open, far }
}

impl Subject for OnFiles {
    fn bench(&self, ports: usize) -> Vec<Station> {
        (0..ports).map(|_| station()).collect()
    }

    fn excuse(&self, case: &str) -> Option<String> {
        let known = EXCUSED.iter().find(|(_, cases)| cases.contains(&case));
        known.map(|(why, _)| (*why).to_owned())
    }
}

/// What files cannot do, and the cases that ask for it. `tests/trips.rs` looks at these in the way of files.
const EXCUSED: &[(&str, &[&str])] = &[
    (
        "a file that is played has an end, behind which nothing comes: here, where the port first looks and finds no frame",
        &[
            "a_device_that_does_not_stop_is_cut_off",
            "a_dropped_port_can_be_opened_again",
            "a_port_without_a_filter_receives_every_vlan",
            "a_queue_works_on_another_thread",
            "a_second_start_is_refused_and_changes_nothing",
            "a_start_waits_until_the_queues_of_the_last_one_are_gone",
            "a_stopped_port_changes_nothing",
            "an_mtu_that_is_accepted_fits_the_buffers",
            "bursts_of_any_size_wrap_rings_of_any_length",
            "every_length_both_ways",
            "flows_spread_over_queues_and_stay_in_one",
            "jumbo_frames_pass_both_ways",
            "promiscuous_and_multicast_are_settings_of_their_own",
            "starts_stops_and_starts_again",
            "the_mtu_limits_what_is_received",
            "two_ports_share_a_pool",
            "what_was_left_open_or_uncut_is_sent_on",
        ],
    ),
    (
        "what is sent is collected, and written when there is enough of it or the core is idle",
        &[
            "empty_and_long_packets_are_dropped_and_counted",
            "every_packet_taken_is_on_the_wire_or_in_a_counter",
            "nothing_stays_held_when_idle",
            "the_mtu_limits_what_is_sent",
        ],
    ),
    (
        "buffers are taken for frames that are read, not before",
        &["an_empty_pool_shortens_the_ring_which_recovers"],
    ),
    (
        "every packet's bytes can be written, whatever pool they are in",
        &["packets_of_an_unmapped_pool_are_dropped_and_counted"],
    ),
    ("a file has no link", &["the_link_goes_and_comes"]),
];

barline_conformance::conformance!(crate::OnFiles);
