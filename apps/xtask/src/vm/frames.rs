//! Frames for the wire: made from a seed, kept as pcap files, recognised when they come back.

use anyhow::{Context, Result};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// A frame without its check sequence.
pub type Frame = Vec<u8>;

/// Shortest and longest frame on the wire.
const LENGTHS: (usize, usize) = (60, 1514);
/// Where the mark and the sequence number are: after the UDP header, and inside the shortest frame.
const MARK_AT: usize = 42;
const MARK: &[u8; 4] = b"BRLN";
/// Flows that the frames of a list are spread over, so that receive-side scaling has something to do.
const FLOWS: u32 = 16;

/// How a list of frames is made.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Frames with the same seed are the same.
    pub seed: u64,
    /// How many; more than 1454 contain every length.
    pub count: u32,
    /// Destination MAC address, unicast.
    pub dst: [u8; 6],
    /// Source MAC address.
    pub src: [u8; 6],
}

impl Recipe {
    /// Makes the frames: UDP in IPv4 of several flows, every eighth of a type no stack knows.
    pub fn frames(&self) -> Vec<Frame> {
        let mut random = Random(self.seed);
        let span = LENGTHS.1 - LENGTHS.0 + 1;
        let shift = random.next() as usize % span;
        // 601 has no factor in common with the number of lengths: the steps visit them all.
        let length = |i: u32| LENGTHS.0 + (shift + i as usize * 601) % span;
        (0..self.count)
            .map(|i| self.frame(i, length(i), &mut random))
            .collect()
    }

    /// The same with one length for all, and without frames of unknown types.
    pub fn frames_of(&self, length: usize) -> Vec<Frame> {
        let mut random = Random(self.seed);
        (0..self.count)
            .map(|i| self.frame(i + i / 7, length, &mut random))
            .collect()
    }

    fn frame(&self, sequence: u32, length: usize, random: &mut Random) -> Frame {
        let mut frame = Vec::with_capacity(length);
        frame.extend(self.dst);
        frame.extend(self.src);
        if sequence % 8 == 7 {
            // IEEE's local experimental type.
            frame.extend([0x88, 0xb5]);
        } else {
            frame.extend([0x08, 0x00]);
            frame.extend(ip_udp(length - 14, sequence));
        }
        while frame.len() < length {
            frame.push(random.next() as u8);
        }
        frame[MARK_AT..MARK_AT + 4].copy_from_slice(MARK);
        frame[MARK_AT + 4..MARK_AT + 8].copy_from_slice(&sequence.to_be_bytes());
        frame
    }
}

/// Headers of a UDP datagram that fills `length` bytes of IPv4; UDP's checksum is left out, as it may be.
fn ip_udp(length: usize, sequence: u32) -> [u8; 28] {
    let flow = (sequence % FLOWS) as u8;
    let (total, udp) = ((length as u16).to_be_bytes(), (length as u16 - 20).to_be_bytes());
    let mut header = [0_u8; 28];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total);
    header[4..6].copy_from_slice(&(sequence as u16).to_be_bytes());
    header[8] = 64;
    header[9] = 17;
    // 198.18.0.0/15 is set aside for tests of network devices.
    header[12..16].copy_from_slice(&[198, 18, 0, flow]);
    header[16..20].copy_from_slice(&[198, 19, 0, 1]);
    // Not the address's bits again: hashes are linear, and would use a part of the queues.
    header[20..24].copy_from_slice(&[0x10, (flow * flow).wrapping_mul(7), 0x20, 0]);
    header[24..26].copy_from_slice(&udp);
    let sum: u32 = header[..20]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    header
}

/// The sequence number of a frame of ours.
pub fn sequence(frame: &[u8]) -> Option<u32> {
    let mark = frame.get(MARK_AT..MARK_AT + 8)?;
    (&mark[..4] == MARK).then(|| u32::from_be_bytes([mark[4], mark[5], mark[6], mark[7]]))
}

/// Small generator with good bits; the frames need no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 8
    }
}

/// Writes frames to a pcap file.
pub fn write_pcap(path: &Path, frames: &[Frame]) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut writer = PcapWriter::new(BufWriter::new(file)).context("cannot write a pcap header")?;
    for (i, frame) in frames.iter().enumerate() {
        let packet = PcapPacket::new(Duration::from_micros(i as u64), frame.len() as u32, frame);
        writer
            .write_packet(&packet)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    writer
        .into_writer()
        .flush()
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads the frames of a pcap file.
pub fn read_pcap(path: &Path) -> Result<Vec<Frame>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = PcapReader::new(BufReader::new(file))
        .with_context(|| format!("{} is no pcap file", path.display()))?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.with_context(|| format!("{} is damaged", path.display()))?;
        frames.push(packet.data.into_owned());
    }
    Ok(frames)
}

/// What became of a list of frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Came back as expected.
    pub good: usize,
    /// Came back with other contents.
    pub changed: usize,
    /// Came back more than once.
    pub repeated: usize,
    /// Came back after a later one of the same flow.
    pub reordered: usize,
    /// Did not come back.
    pub lost: usize,
    /// The first difference, for a person.
    pub first: String,
}

impl Comparison {
    /// Compares what came back with what was sent; `expect` makes the frame that should come back.
    pub fn new(sent: &[Frame], received: &[Frame], expect: impl Fn(&Frame) -> Frame) -> Self {
        let mut result = Self::default();
        let mut seen = vec![false; sent.len()];
        let mut latest: HashMap<u32, u32> = HashMap::new();
        for frame in received {
            let Some(number) = sequence(frame).filter(|number| (*number as usize) < sent.len()) else {
                result.note(|| format!("a frame with a number that was not sent: {}", hex(frame)));
                result.changed += 1;
                continue;
            };
            if std::mem::replace(&mut seen[number as usize], true) {
                result.repeated += 1;
                continue;
            }
            let wanted = expect(&sent[number as usize]);
            if *frame == wanted {
                result.good += 1;
            } else {
                result.changed += 1;
                result.note(|| format!("frame {number}: {} became {}", hex(&wanted), hex(frame)));
            }
            let last = latest.entry(number % FLOWS).or_insert(number);
            result.reordered += usize::from(number < *last);
            *last = number.max(*last);
        }
        result.lost = seen.iter().filter(|seen| !**seen).count();
        if let Some(first) = seen.iter().position(|seen| !seen) {
            result.note(|| format!("frame {first} of {} bytes did not come back", sent[first].len()));
        }
        result
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.first.is_empty() {
            self.first = text();
        }
    }

    /// Whether every frame came back once, as expected and in the order of its flow.
    pub fn is_perfect(&self) -> bool {
        self.changed == 0 && self.repeated == 0 && self.reordered == 0 && self.lost == 0
    }
}

/// Length and first bytes of a frame.
fn hex(frame: &[u8]) -> String {
    let bytes: Vec<String> = frame.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes {}", frame.len(), bytes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: u32) -> Vec<Frame> {
        Recipe {
            seed: 7,
            count,
            dst: [2, 0, 0, 0, 0, 9],
            src: [2, 0, 0, 0, 0, 8],
        }
        .frames()
    }

    #[test]
    fn frames_have_every_length_and_their_number() {
        let frames = list(1455);
        let mut lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, (60..=1514).collect::<Vec<_>>());
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(sequence(frame), Some(i as u32));
            assert_eq!(frame[0] & 1, 0);
        }
        assert_eq!(frames, list(1455));
    }

    #[test]
    fn ip_headers_sum_to_ones() {
        let header = ip_udp(1500, 5);
        let sum: u32 = header[..20]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn pcap_files_keep_frames() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.pcap");
        write_pcap(&path, &list(100)).expect("written");
        assert_eq!(read_pcap(&path).expect("read"), list(100));
    }

    #[test]
    fn comparison_finds_every_kind_of_damage() {
        let sent = list(64);
        assert!(Comparison::new(&sent, &sent, Clone::clone).is_perfect());
        let mut back = sent.clone();
        back[3][59] ^= 1;
        back.swap(8, 24);
        back.remove(40);
        back.push(sent[0].clone());
        let result = Comparison::new(&sent, &back, Clone::clone);
        assert_eq!((result.changed, result.repeated, result.lost), (1, 1, 1));
        assert_eq!(result.reordered, 1);
        assert!(result.first.starts_with("frame 3:"), "{}", result.first);
    }
}
