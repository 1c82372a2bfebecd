//! Frames from capture files.

use pcap_file::TsResolution;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a capture file cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// It cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It ends in the middle of a record.
    #[error("{} is cut off after {frames} whole frames; copy or capture it again", path.display())]
    Truncated {
        /// File.
        path: PathBuf,
        /// Whole frames before the cut.
        frames: usize,
    },
    /// It is not a capture file, or a broken one.
    #[error("{} is not a readable pcap or pcapng file (after {frames} frames): {reason}", path.display())]
    Format {
        /// File.
        path: PathBuf,
        /// Whole frames before the fault.
        frames: usize,
        /// What is wrong.
        reason: String,
    },
    /// It was captured from something else than Ethernet.
    #[error("{} holds {link} frames, and only Ethernet ones can be replayed", path.display())]
    LinkType {
        /// File.
        path: PathBuf,
        /// Link type.
        link: String,
    },
    /// A frame was not captured as a whole.
    #[error(
        "{}: of frame {frame} only {captured} of {original} bytes were captured; capture with tcpdump -s 0",
        path.display()
    )]
    Snapped {
        /// File.
        path: PathBuf,
        /// Frame, from 1 on.
        frame: usize,
        /// Bytes there are.
        captured: usize,
        /// Bytes the frame had.
        original: usize,
    },
}

/// The first four bytes of a pcapng file (a section header block).
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Shortest Ethernet frame without FCS.
const SHORTEST: usize = 60;

/// Reads all Ethernet frames of a capture file, classic pcap or pcapng. Frames below 60 bytes (captured at their
/// sender, before its MAC padded them) are padded with zeros.
///
/// # Errors
/// [`PcapError`]: unreadable, cut off, not Ethernet, or frames not captured as a whole.
pub fn frames_from_pcap(path: impl AsRef<Path>) -> Result<Vec<Vec<u8>>, PcapError> {
    let path = path.as_ref();
    frames_from_capture(open(path)?, path)
}

/// The same with the time of each frame, from the first one on (0 where the file has none, or an earlier one than before).
///
/// # Errors
/// As [`frames_from_pcap`].
pub fn timed_frames_from_pcap(path: impl AsRef<Path>) -> Result<Vec<(Duration, Vec<u8>)>, PcapError> {
    let path = path.as_ref();
    let load = load(open(path)?, path)?;
    let first = load.times.first().copied().unwrap_or_default();
    let times = load.times.into_iter().map(|time| time.saturating_sub(first));
    Ok(times.zip(load.frames).collect())
}

fn open(path: &Path) -> Result<File, PcapError> {
    File::open(path).map_err(|source| PcapError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Reads all Ethernet frames of a capture; `path` is what errors call it.
///
/// # Errors
/// As [`frames_from_pcap`].
pub fn frames_from_capture(file: impl Read + Seek, path: &Path) -> Result<Vec<Vec<u8>>, PcapError> {
    load(file, path).map(|load| load.frames)
}

fn load(mut file: impl Read + Seek, path: &Path) -> Result<Load<'_>, PcapError> {
    let mut load = Load {
        path,
        frames: Vec::new(),
        times: Vec::new(),
        units: Vec::new(),
    };
    let io = |source| PcapError::Io {
        path: path.to_owned(),
        source,
    };
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(load.truncated()),
        other => other.map_err(io)?,
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    if magic == PCAPNG {
        load.pcapng(file)?
    } else {
        load.pcap(file)?
    }
    Ok(load)
}

struct Load<'a> {
    path: &'a Path,
    frames: Vec<Vec<u8>>,
    times: Vec<Duration>,
    /// Of each interface of a pcapng file, how many units of its time stamps are a second.
    units: Vec<u128>,
}

/// Units a second by the option if_tsresol: a power of ten, or of two with the first bit set.
fn units(option: Option<u8>) -> u128 {
    match option.unwrap_or(6) {
        power @ 0x80.. => 1 << (power & 0x7f).min(63),
        power => 10u128.pow(u32::from(power).min(18)),
    }
}

impl Load<'_> {
    fn pcap(&mut self, file: impl Read) -> Result<(), PcapError> {
        let mut reader = PcapReader::new(file).map_err(|error| self.error(error))?;
        let header = reader.header();
        self.ethernet(header.datalink)?;
        let scale = match header.ts_resolution {
            TsResolution::MicroSecond => 1000,
            TsResolution::NanoSecond => 1,
        };
        // Raw: the checked kind refuses frames above the snap length of the header, which some writers leave low.
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.map_err(|error| self.error(error))?;
            let fraction = Duration::from_nanos(u64::from(packet.ts_frac) * scale);
            let time = Duration::from_secs(packet.ts_sec.into()).saturating_add(fraction);
            self.frame(time, &packet.data, packet.orig_len as usize)?;
        }
        Ok(())
    }

    fn pcapng(&mut self, file: impl Read) -> Result<(), PcapError> {
        let mut reader = PcapNgReader::new(file).map_err(|error| self.error(error))?;
        while let Some(block) = reader.next_block() {
            match block.map_err(|error| self.error(error))? {
                Block::InterfaceDescription(interface) => {
                    self.ethernet(interface.linktype)?;
                    let resolution = interface.options.iter().find_map(|option| match option {
                        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
                        _ => None,
                    });
                    self.units.push(units(resolution));
                }
                Block::EnhancedPacket(packet) => {
                    let time = self.time(packet.interface_id as usize, packet.timestamp.as_nanos());
                    self.frame(time, &packet.data, packet.original_len as usize)?;
                }
                Block::SimplePacket(packet) => {
                    self.frame(Duration::ZERO, &packet.data, packet.original_len as usize)?;
                }
                Block::Packet(packet) => {
                    let time = self.time(packet.interface_id.into(), packet.timestamp.into());
                    self.frame(time, &packet.data, packet.original_len as usize)?;
                }
                Block::SectionHeader(_) => self.units.clear(),
                _ => {}
            }
        }
        Ok(())
    }

    fn ethernet(&self, link: pcap_file::DataLink) -> Result<(), PcapError> {
        if link == pcap_file::DataLink::ETHERNET {
            return Ok(());
        }
        Err(PcapError::LinkType {
            path: self.path.to_owned(),
            link: format!("{link:?}"),
        })
    }

    /// What a time stamp in units of its interface means.
    fn time(&self, interface: usize, stamp: u128) -> Duration {
        let units = self.units.get(interface).copied().unwrap_or(units(None));
        let nanos = (stamp % units) * 1_000_000_000 / units;
        Duration::new((stamp / units) as u64, nanos as u32)
    }

    fn frame(&mut self, time: Duration, data: &[u8], original: usize) -> Result<(), PcapError> {
        if data.len() < original {
            let (path, frame) = (self.path.to_owned(), self.frames.len() + 1);
            return Err(PcapError::Snapped {
                path,
                frame,
                captured: data.len(),
                original,
            });
        }
        let mut frame = data.to_vec();
        frame.resize(frame.len().max(SHORTEST), 0);
        self.frames.push(frame);
        self.times.push(time);
        Ok(())
    }

    fn truncated(&self) -> PcapError {
        PcapError::Truncated {
            path: self.path.to_owned(),
            frames: self.frames.len(),
        }
    }

    fn error(&self, error: pcap_file::PcapError) -> PcapError {
        let path = self.path.to_owned();
        match error {
            pcap_file::PcapError::IncompleteBuffer => self.truncated(),
            pcap_file::PcapError::IoError(source) if source.kind() == ErrorKind::UnexpectedEof => {
                self.truncated()
            }
            pcap_file::PcapError::IoError(source) => PcapError::Io { path, source },
            other => PcapError::Format {
                path,
                frames: self.frames.len(),
                reason: other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Little-endian, microseconds, version 2.4.
    fn pcap(link: u32, frames: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(65535u32.to_le_bytes());
        bytes.extend(link.to_le_bytes());
        for (original, data) in frames {
            bytes.extend([0; 8]);
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(original.to_le_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }

    #[test]
    fn classic_files_are_read_and_padded() {
        let file = file(&pcap(1, &[(42, &[1; 42]), (100, &[2; 100])]));
        let frames = frames_from_pcap(file.path()).unwrap();
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [60, 100]);
        assert_eq!((frames[0][41], frames[0][42]), (1, 0));
    }

    #[test]
    fn pcapng_files_are_read() {
        let mut bytes = block(
            0x0a0d_0d0a,
            &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat(),
        );
        bytes.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
        let lens = [64u32.to_le_bytes(), 64u32.to_le_bytes()].concat();
        bytes.extend(block(6, &[&[0; 12][..], &lens, &[7; 64]].concat()));
        let whole = file(&bytes);
        assert_eq!(frames_from_pcap(whole.path()).unwrap(), [vec![7; 64]]);
        let cut = file(&bytes[..bytes.len() - 20]);
        assert!(matches!(
            frames_from_pcap(cut.path()),
            Err(PcapError::Truncated { frames: 0, .. })
        ));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let good = pcap(1, &[(60, &[1; 60]), (60, &[2; 60])]);
        let cut = file(&good[..good.len() - 1]);
        assert!(matches!(
            frames_from_pcap(cut.path()),
            Err(PcapError::Truncated { frames: 1, .. })
        ));
        for len in [0, 3, 4, 23] {
            let cut = file(&good[..len]);
            assert!(
                matches!(
                    frames_from_pcap(cut.path()),
                    Err(PcapError::Truncated { frames: 0, .. })
                ),
                "{len}"
            );
        }
        let text = file(b"this is no capture file, but long enough to look like one");
        assert!(matches!(
            frames_from_pcap(text.path()),
            Err(PcapError::Format { .. })
        ));
        let wifi = file(&pcap(105, &[]));
        assert!(matches!(
            frames_from_pcap(wifi.path()),
            Err(PcapError::LinkType { .. })
        ));
        let snapped = file(&pcap(1, &[(1500, &[1; 64])]));
        let error = frames_from_pcap(snapped.path()).unwrap_err();
        assert!(error.to_string().contains("64 of 1500"), "{error}");
        assert!(matches!(
            frames_from_pcap("/no/such/file.pcap"),
            Err(PcapError::Io { .. })
        ));
    }
}
