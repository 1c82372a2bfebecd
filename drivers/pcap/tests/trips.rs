//! What is in one file is received, and what is sent is in the other.

use barline::pool::{Batch, Pool, PoolCache};
use barline::port::{Port, PortConfig, PortError, PortEvent, Queues};
use barline_pcap::{Capture, Options, Pace, Pcap, PcapError};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgReader;
use pcap_file::{DataLink, Endianness, TsResolution};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| (0..14 + n % 1500).map(|at| (n * 7 + at) as u8).collect())
        .collect()
}

/// A classic file with a frame each `gap`.
fn write(path: &Path, frames: &[Vec<u8>], gap: Duration, resolution: TsResolution) {
    let header = PcapHeader {
        ts_resolution: resolution,
        endianness: Endianness::Little,
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(path).unwrap(), header).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        let time = Duration::from_secs(1_700_000_000) + gap * n as u32;
        let packet = PcapPacket::new(time, frame.len() as u32, frame);
        writer.write_packet(&packet).unwrap();
    }
}

struct Bench {
    dir: TempDir,
    pool: Pool,
    cache: PoolCache,
}

impl Bench {
    fn new() -> Self {
        let pool = Pool::builder().packets(512).build().unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            cache: pool.cache(),
            pool,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, options: &Options) -> (Pcap, Queues) {
        let mut port = Pcap::open(options).unwrap();
        let queues = port.start(&PortConfig::new(&self.pool)).unwrap();
        (port, queues)
    }

    /// Receives and sends until the port is dry, or `most` frames have passed.
    fn forward(&mut self, port: &Pcap, queues: &mut Queues, most: usize) -> Vec<Vec<u8>> {
        let (mut seen, mut batch, dry) = (Vec::new(), Batch::with_burst(32), port.dry());
        while seen.len() < most {
            let done = dry.load(Ordering::Relaxed);
            queues.rx[0].receive(&mut self.cache, &mut batch);
            seen.extend(batch.as_slice().iter().map(|packet| packet.to_vec()));
            queues.tx[0].transmit(&mut self.cache, &mut batch);
            assert!(batch.is_empty());
            if done {
                break;
            }
        }
        seen
    }
}

fn read(path: &Path) -> Vec<Vec<u8>> {
    let mut capture = Capture::new(File::open(path).unwrap()).unwrap();
    let (mut frame, mut all) = (Vec::new(), Vec::new());
    while let Some(record) = capture.next(&mut frame).unwrap() {
        assert!(record.ethernet && record.original == frame.len());
        all.push(frame.clone());
    }
    all
}

/// Both of the kind that `pcap-parser`, which others wrote, reads.
fn read_elsewhere(path: &Path) -> Vec<Vec<u8>> {
    use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
    let mut reader = create_reader(1 << 16, File::open(path).unwrap()).unwrap();
    let mut all = Vec::new();
    loop {
        match reader.next() {
            Ok((size, block)) => {
                match block {
                    PcapBlockOwned::Legacy(packet) => all.push(packet.data.to_vec()),
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        all.push(packet.data[..packet.caplen as usize].to_vec());
                    }
                    _ => {}
                }
                reader.consume(size);
            }
            Err(PcapError::Eof) => return all,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn frames_pass_from_file_to_file() {
    let wanted = frames(2000);
    for (from, to, resolution) in [
        ("a.pcap", "b.pcap", TsResolution::MicroSecond),
        ("a.pcap", "b.pcapng", TsResolution::NanoSecond),
    ] {
        let mut bench = Bench::new();
        let (from, to) = (bench.path(from), bench.path(to));
        write(&from, &wanted, Duration::from_millis(1), resolution);
        let (mut port, mut queues) = bench.start(&Options {
            rx: Some(from),
            tx: Some(to.clone()),
            ..Options::default()
        });
        let seen = bench.forward(&port, &mut queues, usize::MAX);
        assert!(seen == wanted);
        assert_eq!(queues.rx[0].counters().rx_packets.get(), 2000);
        port.stop(queues).unwrap();
        assert!(read(&to) == wanted && read_elsewhere(&to) == wanted);
        bench.cache.flush();
        assert_eq!(bench.pool.available(), bench.pool.packets());
    }
}

/// What is in the file at any time can be read: the core only has to be idle once, or the buffer full.
#[test]
fn the_file_is_whole_without_a_stop() {
    let mut bench = Bench::new();
    for name in ["a.pcap", "a.pcapng"] {
        let path = bench.path(name);
        let (port, mut queues) = bench.start(&Options {
            tx: Some(path.clone()),
            ..Options::default()
        });
        assert!(port.dry().load(Ordering::Relaxed), "nothing ever comes");
        let mut batch = Batch::new();
        for n in 0..10 {
            let mut packet = bench.cache.alloc().unwrap();
            assert!(packet.set(&[n; 61]));
            batch.push(packet).unwrap();
        }
        queues.tx[0].transmit(&mut bench.cache, &mut batch);
        assert_eq!(queues.tx[0].in_flight(), 10);
        assert_eq!(read(&path).len(), 0);
        queues.tx[0].reclaim(&mut bench.cache);
        assert_eq!((queues.tx[0].in_flight(), read(&path).len()), (0, 10));
        std::mem::forget((port, queues)); // as SIGKILL would
        assert_eq!(read_elsewhere(&path).len(), 10);
    }
}

#[test]
fn stamps_of_what_is_written_are_nanoseconds_of_now() {
    let mut bench = Bench::new();
    let path = bench.path("a.pcapng");
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let (mut port, mut queues) = bench.start(&Options {
        tx: Some(path.clone()),
        ..Options::default()
    });
    let mut batch = Batch::new();
    let mut packet = bench.cache.alloc().unwrap();
    assert!(packet.set(&[1; 60]));
    batch.push(packet).unwrap();
    queues.tx[0].transmit(&mut bench.cache, &mut batch);
    port.stop(queues).unwrap();
    let after = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let mut capture = Capture::new(File::open(&path).unwrap()).unwrap();
    let time = capture.next(&mut Vec::new()).unwrap().unwrap().time.unwrap();
    assert!((before..=after).contains(&time), "{time:?}");
    // And the interface says so.
    let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
    while let Some(block) = reader.next_block() {
        block.unwrap();
    }
    let options = format!("{:?}", reader.interfaces()[0].options);
    assert!(
        options.contains("IfTsResol(9)") && options.contains("barline"),
        "{options}"
    );
}

#[test]
fn stamps_that_are_read_are_those_that_were_written() {
    let bench = Bench::new();
    let path = bench.path("a.pcap");
    for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
        let gap = Duration::from_micros(1_000_001);
        write(&path, &frames(5), gap, resolution);
        let mut capture = Capture::new(File::open(&path).unwrap()).unwrap();
        let (mut frame, mut wanted) = (Vec::new(), Duration::from_secs(1_700_000_000));
        while let Some(record) = capture.next(&mut frame).unwrap() {
            assert_eq!(record.time, Some(wanted), "{resolution:?}");
            wanted += gap;
        }
    }
}

#[test]
fn a_loop_goes_on_and_a_pace_is_kept() {
    let mut bench = Bench::new();
    let (from, wanted) = (bench.path("a.pcap"), frames(5));
    write(
        &from,
        &wanted,
        Duration::from_millis(20),
        TsResolution::NanoSecond,
    );
    let options = Options {
        rx: Some(from),
        repeat: true,
        ..Options::default()
    };
    let (mut port, mut queues) = bench.start(&options);
    let seen = bench.forward(&port, &mut queues, 500);
    assert!(seen.iter().zip(wanted.iter().cycle()).all(|(a, b)| a == b));
    assert!(!port.dry().load(Ordering::Relaxed));
    port.stop(queues).unwrap();
    drop(port);
    let (mut port, mut queues) = bench.start(&Options {
        repeat: false,
        pace: Pace::Original,
        ..options
    });
    let begin = Instant::now();
    assert!(bench.forward(&port, &mut queues, usize::MAX) == wanted);
    assert!(
        begin.elapsed() >= Duration::from_millis(80),
        "{:?}",
        begin.elapsed()
    );
    port.stop(queues).unwrap();
}

#[test]
fn a_file_that_is_cut_off_ends_in_a_count() {
    let mut bench = Bench::new();
    let (from, wanted) = (bench.path("a.pcap"), frames(20));
    write(&from, &wanted, Duration::ZERO, TsResolution::MicroSecond);
    let whole = fs::read(&from).unwrap();
    for (bytes, received) in [(&whole[..whole.len() - 1], 19), (&whole[..], 20)] {
        fs::write(&from, bytes).unwrap();
        for repeat in [false, true] {
            let (mut port, mut queues) = bench.start(&Options {
                rx: Some(from.clone()),
                repeat,
                ..Options::default()
            });
            let most = if repeat && received == 20 { 60 } else { usize::MAX };
            let seen = bench.forward(&port, &mut queues, most);
            let damaged = u64::from(received == 19);
            assert_eq!(queues.rx[0].counters().rx_errors.get(), damaged);
            assert!(
                seen.len() == received || (repeat && damaged == 0),
                "{}",
                seen.len()
            );
            port.stop(queues).unwrap();
        }
    }
}

#[test]
fn frames_that_cannot_be_received_are_counted() {
    let mut bench = Bench::new();
    let from = bench.path("a.pcap");
    let mut all = frames(3);
    all.push(vec![1; 13]);
    all.push(vec![1; 1519]);
    write(&from, &all, Duration::ZERO, TsResolution::MicroSecond);
    // One that was not captured whole.
    let mut bytes = fs::read(&from).unwrap();
    let (len, original) = (60u32.to_le_bytes(), 61u32.to_le_bytes());
    bytes.extend([&[0; 8][..], &len, &original, &[2; 60]].concat());
    fs::write(&from, bytes).unwrap();
    let (mut port, mut queues) = bench.start(&Options {
        rx: Some(from),
        ..Options::default()
    });
    let seen = bench.forward(&port, &mut queues, usize::MAX);
    let counters = queues.rx[0].counters();
    assert_eq!(
        (seen.len(), counters.rx_lengths.get(), counters.rx_errors.get()),
        (3, 3, 0)
    );
    port.stop(queues).unwrap();
}

#[test]
fn what_cannot_be_is_refused_with_a_remedy() {
    let bench = Bench::new();
    let (one, two) = (bench.path("one.pcap"), bench.path("two.pcap"));
    write(&one, &frames(2), Duration::ZERO, TsResolution::MicroSecond);
    let options = |rx: &Path, tx: &Path| Options {
        rx: Some(rx.to_owned()),
        tx: Some(tx.to_owned()),
        ..Options::default()
    };
    assert!(matches!(Pcap::open(&Options::default()), Err(PcapError::Nothing)));
    assert!(matches!(
        Pcap::open(&options(&one, &one)),
        Err(PcapError::Same(_))
    ));
    let link = bench.path("link.pcap");
    fs::hard_link(&one, &link).unwrap();
    assert!(matches!(
        Pcap::open(&options(&one, &link)),
        Err(PcapError::Same(_))
    ));
    assert_eq!(read(&one).len(), 2, "nothing was written over");
    let port = Pcap::open(&options(&one, &two)).unwrap();
    let reader = Pcap::open(&Options {
        rx: Some(one.clone()),
        ..Options::default()
    });
    assert!(reader.is_ok(), "two may read");
    assert!(matches!(
        Pcap::open(&options(&link, &two)),
        Err(PcapError::InUse(_))
    ));
    drop(port);
    let missing = Pcap::open(&options(&bench.path("none"), &two)).unwrap_err();
    assert!(!missing.is_of_the_machine() && missing.to_string().contains("none"));
    assert!(matches!(
        Pcap::open(&options(bench.dir.path(), &two)),
        Err(PcapError::NotAFile(_))
    ));
    fs::write(bench.path("text"), "this is no capture file at all").unwrap();
    assert!(matches!(
        Pcap::open(&options(&bench.path("text"), &two)),
        Err(PcapError::Format { .. })
    ));
    // A file of another kind of network.
    let mut bytes = fs::read(&one).unwrap();
    bytes[20..24].copy_from_slice(&113u32.to_le_bytes());
    fs::write(bench.path("cooked"), &bytes).unwrap();
    let error = Pcap::open(&options(&bench.path("cooked"), &two)).unwrap_err();
    assert!(matches!(error, PcapError::LinkType { .. }), "{error}");
}

/// A full disk: `/dev/full` is no regular file, so a file that may not grow plays it.
#[test]
fn a_write_that_fails_ends_the_ports_run() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if std::env::var_os("BARLINE_PCAP_FULL").is_none() {
        // The limit is the whole process's.
        let this = std::env::current_exe().unwrap();
        // The signal that comes with the limit is ignored from before the start on.
        let run = "trap '' XFSZ; exec \"$0\" a_write_that_fails_ends_the_ports_run --exact --test-threads=1";
        let status = std::process::Command::new("sh")
            .args(["-c", run])
            .arg(this)
            .env("BARLINE_PCAP_FULL", "1")
            // The limit holds for these too, where they are files.
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        return assert!(status.unwrap().success());
    }
    let mut bench = Bench::new();
    let path = bench.path("a.pcap");
    let (mut port, mut queues) = bench.start(&Options {
        tx: Some(path),
        ..Options::default()
    });
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 1000, hard).unwrap();
    let mut batch = Batch::new();
    for _ in 0..20 {
        let mut packet = bench.cache.alloc().unwrap();
        assert!(packet.set(&[7; 100]));
        batch.push(packet).unwrap();
    }
    assert_eq!(port.event(), None);
    queues.tx[0].transmit(&mut bench.cache, &mut batch);
    queues.tx[0].reclaim(&mut bench.cache);
    assert_eq!(queues.tx[0].in_flight(), 20);
    assert_eq!((port.event(), port.event()), (Some(PortEvent::Error), None));
    let mut packet = bench.cache.alloc().unwrap();
    assert!(packet.set(&[7; 100]));
    batch.push(packet).unwrap();
    assert_eq!(
        queues.tx[0].transmit(&mut bench.cache, &mut batch),
        0,
        "it takes no more"
    );
    bench.cache.free(&mut batch);
    assert!(matches!(port.stop(queues), Err(PortError::Config(_))));
}
