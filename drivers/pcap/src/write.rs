//! Capture files as they are written: classic pcap with nanoseconds, or pcapng with nanoseconds.

use std::path::Path;
use std::time::Duration;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pcap,
    Ng,
}

/// Ethernet (LINKTYPE_ETHERNET).
const ETHERNET: u16 = 1;
/// "As long as they are."
const SNAPLEN: u32 = 262_144;
/// pcapng blocks: section header, interface description, enhanced packet.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Options of an interface: its name, and what its stamps count (10^-9 s).
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const NAME: &str = "barline";

impl Kind {
    /// By the end of the file's name.
    pub fn of(path: &Path) -> Self {
        match path.extension().is_some_and(|end| end == "pcapng") {
            true => Self::Ng,
            false => Self::Pcap,
        }
    }

    /// What stands at the start.
    pub fn header(self, out: &mut Vec<u8>) {
        match self {
            Self::Pcap => {
                // Magic number for nanoseconds, version 2.4, UTC, precision unknown.
                words(out, &[0xa1b2_3c4d, 4 << 16 | 2, 0, 0, SNAPLEN, ETHERNET.into()]);
            }
            Self::Ng => {
                // Byte order, version 1.0, a section of unknown length.
                let mut body = Vec::new();
                words(&mut body, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]);
                block(out, SECTION, &body);
                let mut body = Vec::new();
                words(&mut body, &[ETHERNET.into(), SNAPLEN]);
                option(&mut body, IF_NAME, NAME.as_bytes());
                option(&mut body, IF_TSRESOL, &[9]);
                option(&mut body, 0, &[]);
                block(out, INTERFACE, &body);
            }
        }
    }

    /// One frame.
    pub fn record(self, out: &mut Vec<u8>, time: Duration, frame: &[u8]) {
        let len = frame.len() as u32;
        match self {
            Self::Pcap => {
                words(out, &[time.as_secs() as u32, time.subsec_nanos(), len, len]);
                out.extend_from_slice(frame);
            }
            Self::Ng => {
                let stamp = time.as_nanos() as u64;
                let total = 32 + len.next_multiple_of(4);
                words(
                    out,
                    &[PACKET, total, 0, (stamp >> 32) as u32, stamp as u32, len, len],
                );
                out.extend_from_slice(frame);
                pad(out, frame.len());
                words(out, &[total]);
            }
        }
    }
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    words
        .iter()
        .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&[0; 3][..len.next_multiple_of(4) - len]);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let total = 12 + body.len() as u32;
    words(out, &[kind, total]);
    out.extend_from_slice(body);
    words(out, &[total]);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}
