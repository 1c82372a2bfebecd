//! Captures and traces of a port that receives what it sends.

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{Port, PortConfig, PortError, Queues};
use barline_null::Loopback;
use barline_wrap::{Select, Watch, Wrapped};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A file in memory, to look at while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that takes so many bytes, and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that waits for permission before every write but the first, and says that it waits.
struct Slow {
    first: bool,
    waiting: Sender<()>,
    go: Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.first, false) {
            let _ = self.waiting.send(());
            let _ = self.go.recv();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rig {
    port: Wrapped,
    queues: Queues,
    cache: PoolCache,
}

impl Rig {
    fn start(watch: Watch) -> Self {
        let pool = Pool::builder().packets(1024).build().expect("a pool");
        let mut port = Wrapped::new(Box::new(Loopback::new()), Box::new(watch));
        let queues = port.start(&PortConfig::new(&pool)).expect("a start");
        let cache = pool.cache();
        Self { port, queues, cache }
    }

    /// Sends a frame and receives it again.
    fn pass(&mut self, frame: &[u8]) {
        let mut batch = Batch::new();
        let mut packet = self.cache.alloc().expect("a packet");
        assert!(packet.set(frame), "it fits");
        batch.push(packet).expect("room");
        assert_eq!(self.queues.tx[0].transmit(&mut self.cache, &mut batch), 1);
        assert_eq!(self.queues.rx[0].receive(&mut self.cache, &mut batch), 1);
        assert_eq!(&batch.as_slice()[0][..], frame, "what is watched stays as it is");
        self.cache.free(&mut batch);
    }

    fn counter(&mut self, name: &str) -> u64 {
        let mut value = None;
        self.port.counters(&mut |known: &'static str, n: u64| {
            if known == name {
                value = Some(n);
            }
        });
        value.expect("the counter")
    }

    fn stop(mut self) -> Result<(), PortError> {
        let queues = std::mem::take(&mut self.queues);
        self.port.stop(queues)
    }
}

fn frame(number: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(3) ^ number).collect()
}

/// Flags, original length and bytes of every frame of a file.
fn read(bytes: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut reader = PcapNgReader::new(bytes).expect("a section");
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("a block") {
            let flags = packet.options.iter().find_map(|option| match option {
                EnhancedPacketOption::Flags(flags) => Some(*flags),
                _ => None,
            });
            frames.push((
                flags.expect("a direction"),
                packet.original_len,
                packet.data.to_vec(),
            ));
        }
    }
    frames
}

#[test]
fn every_frame_is_in_the_file_once_each_way() {
    let file = Shared::default();
    let watch = Watch::capture("a.pcapng", "ring:", file.clone(), Select::default()).expect("a file");
    let mut rig = Rig::start(watch);
    let frames: Vec<_> = (0..200_u8).map(|n| frame(n, 14 + usize::from(n))).collect();
    frames.iter().for_each(|frame| rig.pass(frame));
    assert_eq!(
        (rig.counter("watch_frames"), rig.counter("watch_missed")),
        (400, 0)
    );
    rig.stop().expect("a stop");
    let expected: Vec<_> = frames
        .iter()
        .flat_map(|frame| {
            [
                (2, frame.len() as u32, frame.clone()),
                (1, frame.len() as u32, frame.clone()),
            ]
        })
        .collect();
    assert_eq!(read(&file.bytes()), expected);
}

#[test]
fn a_limit_is_kept_and_long_frames_are_cut() {
    let file = Shared::default();
    let select = Select {
        limit: Some(5),
        snap: 20,
        ..Select::default()
    };
    let mut rig = Rig::start(Watch::capture("a.pcapng", "ring:", file.clone(), select).expect("a file"));
    (0..50).for_each(|n| rig.pass(&frame(n, 100)));
    assert_eq!(rig.counter("watch_frames"), 5);
    rig.stop().expect("a stop");
    let frames = read(&file.bytes());
    assert_eq!(frames.len(), 5);
    assert!(
        frames
            .iter()
            .all(|(_, len, bytes)| *len == 100 && bytes.len() == 20)
    );
}

#[test]
fn a_filter_leaves_out_what_it_does_not_keep() {
    let file = Shared::default();
    // Frames whose first byte is 7.
    let select = Select {
        filter: Some(
            "4\n48 0 0 0\n21 0 1 7\n6 0 0 65535\n6 0 0 0"
                .parse()
                .expect("a filter"),
        ),
        ..Select::default()
    };
    let mut rig = Rig::start(Watch::capture("a.pcapng", "ring:", file.clone(), select).expect("a file"));
    (0..20).for_each(|n| rig.pass(&frame(n, 60)));
    rig.stop().expect("a stop");
    let frames = read(&file.bytes());
    assert_eq!(
        frames.iter().map(|(.., bytes)| bytes[0]).collect::<Vec<_>>(),
        [7, 7]
    );
}

#[test]
fn a_full_disk_ends_the_capture_and_not_the_port() {
    let mut rig =
        Rig::start(Watch::capture("a.pcapng", "ring:", Full(4000), Select::default()).expect("a file"));
    (0..200).for_each(|n| rig.pass(&frame(n, 100)));
    let error = rig.stop().expect_err("a full disk");
    assert!(
        matches!(&error, PortError::Failed(text) if text.contains("a.pcapng could not be written")),
        "{error:?}"
    );
}

#[test]
fn a_disk_that_is_full_from_the_start_is_known_before_the_port_starts() {
    Watch::capture("a.pcapng", "ring:", Full(10), Select::default()).expect_err("a full disk");
}

#[test]
fn a_slow_disk_costs_frames_of_the_capture_and_no_others() {
    let (waiting, waits) = channel();
    let (permit, go) = channel();
    let slow = Slow {
        first: true,
        waiting,
        go,
    };
    let mut rig = Rig::start(Watch::capture("a.pcapng", "ring:", slow, Select::default()).expect("a file"));
    rig.pass(&frame(0, 60));
    waits.recv().expect("the disk");
    (0..6000).for_each(|n| rig.pass(&frame(n as u8, 60)));
    let (taken, missed) = (rig.counter("watch_frames"), rig.counter("watch_missed"));
    assert_eq!(taken + missed, 12_002);
    assert!(missed > 6000, "{missed} of 12002 missed");
    drop(permit); // from here on it writes at once
    rig.stop().expect("a stop");
}

#[test]
fn queues_that_outlive_their_port_hold_nothing_up() {
    let file = Shared::default();
    let Rig {
        port,
        mut queues,
        mut cache,
    } = Rig::start(Watch::capture("a.pcapng", "ring:", file.clone(), Select::default()).expect("a file"));
    drop(port);
    let mut batch = Batch::new();
    batch.push(cache.alloc().expect("a packet")).expect("room");
    queues.tx[0].transmit(&mut cache, &mut batch);
    assert!(read(&file.bytes()).is_empty());
}

#[test]
fn a_stopped_port_goes_on_in_the_same_file() {
    let file = Shared::default();
    let watch = Watch::capture("a.pcapng", "ring:", file.clone(), Select::default()).expect("a file");
    let Rig {
        mut port,
        queues,
        cache,
    } = Rig::start(watch);
    port.stop(queues).expect("a stop");
    drop(cache);
    let pool = Pool::builder().packets(64).build().expect("a pool");
    let queues = port.start(&PortConfig::new(&pool)).expect("a start");
    let mut rig = Rig {
        port,
        queues,
        cache: pool.cache(),
    };
    rig.pass(&frame(1, 60));
    rig.stop().expect("a stop");
    assert_eq!(read(&file.bytes()).len(), 2);
}

#[test]
fn a_trace_says_what_is_in_a_frame() {
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1234, 53);
    let mut udp = Vec::new();
    builder.write(&mut udp, &[0xab; 18]).expect("a frame");
    let out = Shared::default();
    let select = Select {
        limit: Some(3),
        ..Select::default()
    };
    let mut rig = Rig::start(Watch::trace("ring:", out.clone(), select));
    rig.pass(&udp);
    rig.pass(&[0xff; 14]);
    rig.stop().expect("a stop");
    let text = String::from_utf8(out.bytes()).expect("text");
    let lines: Vec<_> = text.lines().collect();
    // Without the time.
    assert_eq!(
        lines[0].split_once(' ').expect("a time").1,
        "ring: tx 0 60 bytes: 02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4 10.0.0.1 > 10.0.0.2 ttl 64, UDP 1234 > 53, 18 bytes"
    );
    assert_eq!(
        lines[1],
        "    0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00"
    );
    assert_eq!(lines.iter().filter(|line| !line.starts_with(' ')).count(), 3);
    assert!(
        lines[10].ends_with("ff:ff:ff:ff:ff:ff > ff:ff:ff:ff:ff:ff, type 0xffff"),
        "{}",
        lines[10]
    );
}
