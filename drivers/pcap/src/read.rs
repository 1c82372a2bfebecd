//! A capture file, read record by record: classic pcap and pcapng, of both byte orders, with microseconds or nanoseconds.
//! Memory is bounded: 8 MB of buffer, whatever the file says.

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError as FileError, TsResolution};
use std::fmt;
use std::io::{Cursor, ErrorKind, Read};
use std::time::Duration;

/// The first four bytes of a pcapng file (a section header block).
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Microseconds: what stamps of pcapng count where the interface does not say.
const MICROSECONDS: u8 = 6;

/// Descriptions of interfaces are kept: this bounds their memory.
const MOST_INTERFACES: usize = 10_000;

/// What was read, with its first bytes put back.
type Source<R> = std::io::Chain<Cursor<Vec<u8>>, R>;

/// Why the rest of a file cannot be read.
#[derive(Debug)]
pub enum Damage {
    /// It ends in the middle of a record, or a record says that it is longer than 8 MB.
    CutOff,
    /// The system's word.
    Io(std::io::Error),
    /// What stands there cannot be.
    Nonsense(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("it is cut off"),
            Self::Io(error) => error.fmt(f),
            Self::Nonsense(what) => f.write_str(what),
        }
    }
}

impl From<FileError> for Damage {
    fn from(error: FileError) -> Self {
        match error {
            FileError::IncompleteBuffer => Self::CutOff,
            FileError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => Self::CutOff,
            FileError::IoError(error) => Self::Io(error),
            other => Self::Nonsense(other.to_string()),
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was captured, since 1970; none where the file does not say (simple packet blocks).
    pub time: Option<Duration>,
    /// Bytes that the frame had.
    pub original: usize,
    /// Whether it is an Ethernet frame.
    pub ethernet: bool,
}

/// A capture file that is being read.
pub struct Capture<R: Read> {
    reader: Reader<R>,
}

enum Reader<R: Read> {
    Pcap(PcapReader<Source<R>>),
    Ng(Box<PcapNgReader<Source<R>>>),
}

impl<R: Read> fmt::Debug for Capture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reader {
            Reader::Pcap(_) => "Capture(pcap)",
            Reader::Ng(_) => "Capture(pcapng)",
        })
    }
}

impl<R: Read> Capture<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Damage`]: it is no capture file.
    pub fn new(mut source: R) -> Result<Self, Damage> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic).map_err(FileError::IoError)?;
        let whole = Cursor::new(magic.to_vec()).chain(source);
        let reader = match magic == PCAPNG {
            true => Reader::Ng(Box::new(PcapNgReader::new(whole)?)),
            false => Reader::Pcap(PcapReader::new(whole)?),
        };
        Ok(Self { reader })
    }

    /// What kind of frames a classic file has; those of a pcapng file are told record by record.
    pub fn link_type(&self) -> Option<DataLink> {
        match &self.reader {
            Reader::Pcap(reader) => Some(reader.header().datalink),
            Reader::Ng(_) => None,
        }
    }

    /// Puts the next frame into `frame`; none at the end of the file.
    ///
    /// # Errors
    /// [`Damage`]: the rest cannot be read.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<Record>, Damage> {
        match &mut self.reader {
            Reader::Pcap(reader) => next_pcap(reader, frame),
            Reader::Ng(reader) => next_ng(reader, frame),
        }
    }
}

/// The raw kind: the checked one refuses frames above the snap length of the header, which some writers leave low.
fn next_pcap<R: Read>(reader: &mut PcapReader<R>, frame: &mut Vec<u8>) -> Result<Option<Record>, Damage> {
    let header = reader.header();
    let Some(packet) = reader.next_raw_packet().transpose()? else {
        return Ok(None);
    };
    put(frame, &packet.data, packet.orig_len as usize);
    let unit = match header.ts_resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    let part = Duration::from_nanos(u64::from(packet.ts_frac) * unit);
    Ok(Some(Record {
        time: Some(Duration::from_secs(packet.ts_sec.into()) + part),
        original: packet.orig_len as usize,
        ethernet: header.datalink == DataLink::ETHERNET,
    }))
}

fn next_ng<R: Read>(reader: &mut PcapNgReader<R>, frame: &mut Vec<u8>) -> Result<Option<Record>, Damage> {
    loop {
        let Some(block) = reader.next_block().transpose()? else {
            return Ok(None);
        };
        // Stamps are numbers of the interface's unit; the crate gives them as if that were nanoseconds.
        let (interface, count, original) = match &block {
            Block::EnhancedPacket(packet) => {
                put(frame, &packet.data, packet.original_len as usize);
                let count = packet.timestamp.as_nanos() as u64;
                (packet.interface_id, Some(count), packet.original_len)
            }
            Block::Packet(packet) => {
                put(frame, &packet.data, packet.original_len as usize);
                let interface = packet.interface_id.into();
                (interface, Some(packet.timestamp), packet.original_len)
            }
            Block::SimplePacket(packet) => {
                put(frame, &packet.data, packet.original_len as usize);
                (0, None, packet.original_len)
            }
            _ => {
                drop(block);
                if reader.interfaces().len() > MOST_INTERFACES {
                    return Err(Damage::Nonsense(format!(
                        "more than {MOST_INTERFACES} interfaces"
                    )));
                }
                continue;
            }
        };
        drop(block);
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Err(Damage::Nonsense(format!("there is no interface {interface}")));
        };
        return Ok(Some(Record {
            time: count.map(|count| time(interface, count)),
            original: original as usize,
            ethernet: interface.linktype == DataLink::ETHERNET,
        }));
    }
}

/// Without the padding that a block may have behind it.
fn put(frame: &mut Vec<u8>, data: &[u8], original: usize) {
    frame.clear();
    frame.extend_from_slice(&data[..data.len().min(original)]);
}

/// A stamp in the interface's unit (if_tsresol) and from its origin (if_tsoffset).
fn time(interface: &InterfaceDescriptionBlock<'_>, count: u64) -> Duration {
    let (mut resolution, mut offset) = (MICROSECONDS, 0u64);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(given) => resolution = *given,
            InterfaceDescriptionOption::IfTsOffset(given) => offset = *given,
            _ => {}
        }
    }
    let since = scaled(count, resolution);
    // A signed number of seconds.
    let seconds = Duration::from_secs((offset as i64).unsigned_abs());
    match (offset as i64) < 0 {
        true => since.saturating_sub(seconds),
        false => since.saturating_add(seconds),
    }
}

/// `count` units of 10^-n seconds, or of 2^-n where the top bit is set.
fn scaled(count: u64, resolution: u8) -> Duration {
    let power = u32::from(resolution & 0x7f);
    let (base, count) = (if resolution & 0x80 == 0 { 10u128 } else { 2 }, u128::from(count));
    // Units too small for a 64-bit number of them to make a nanosecond.
    let Some(unit) = base.checked_pow(power) else {
        return Duration::ZERO;
    };
    let (seconds, rest) = (count / unit, count % unit);
    // `rest` is below 2^64: no overflow.
    let nanoseconds = rest * 1_000_000_000 / unit;
    Duration::new(seconds as u64, nanoseconds as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stamps_are_of_the_interfaces_unit() {
        for (count, resolution, nanoseconds) in [
            (1_500_000, 6, 1_500_000_000),
            (1_500_000_000, 9, 1_500_000_000),
            (3, 0, 3_000_000_000),
            (3, 0x80 | 1, 1_500_000_000),
            (5 << 20, 0x80 | 20, 5_000_000_000),
            (7, 12, 0),
            (u64::MAX, 127, 0),
            (u64::MAX, 0xff, 0),
        ] {
            assert_eq!(
                scaled(count, resolution).as_nanos(),
                nanoseconds,
                "{count} {resolution}"
            );
        }
    }

    fn read(bytes: &[u8]) -> (usize, Option<Damage>) {
        let mut capture = match Capture::new(bytes) {
            Ok(capture) => capture,
            Err(damage) => return (0, Some(damage)),
        };
        let (mut frame, mut frames) = (Vec::new(), 0);
        loop {
            match capture.next(&mut frame) {
                Ok(Some(record)) => {
                    assert!(frame.len() <= record.original);
                    frames += 1;
                }
                Ok(None) => return (frames, None),
                Err(damage) => return (frames, Some(damage)),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A file with some bytes changed, or cut off: what comes before the fault is read, and there is no panic.
        #[test]
        fn damaged_files_are_survived(ng: bool, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6), cut in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            let kind = crate::write::Kind::of(std::path::Path::new(if ng { "a.pcapng" } else { "a" }));
            kind.header(&mut bytes);
            for n in 0..8 {
                kind.record(&mut bytes, Duration::from_nanos(n), &[n as u8; 61]);
            }
            let (frames, damage) = read(&bytes);
            prop_assert!(frames == 8 && damage.is_none());
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read(&bytes);
            let whole = cut.index(bytes.len());
            let (frames, _) = read(&bytes[..whole]);
            prop_assert!(frames <= 8);
        }

        #[test]
        fn any_scale_is_survived(count: u64, resolution: u8) {
            let nanoseconds = scaled(count, resolution).subsec_nanos();
            prop_assert!(nanoseconds < 1_000_000_000);
        }
    }
}
