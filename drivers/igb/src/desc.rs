//! Advanced descriptors (data sheet 7.1.5 receive, 7.2.2.3 transmit).

use crate::describe;
use barline::mem::{Desc16, Iova};
use barline::pool::{Discard, Verdict};
use barline::ring::{RxFormat, TxFormat};
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Receive, one buffer. Read format: packet address, header address. Write-back: hash; status, errors, length.
#[derive(Debug)]
pub struct Rx;

const RX_DD: u64 = 1 << 0;
const RX_EOP: u64 = 1 << 1;
/// RXE, CXE, SEQ, SE, CE: the frame itself is damaged. Wrong IP and L4 checksums are the application's matter.
const RX_DAMAGED: u64 = 0x9700_0000;
const RX_LEN_SHIFT: u32 = 32;

impl RxFormat for Rx {
    type Desc = Desc16;

    #[inline(always)]
    fn arm(desc: &Desc16, buffer: Iova) {
        desc[0].store(buffer.raw(), Relaxed);
        // The header address; bit 0 is where the device will write DD.
        desc[1].store(0, Relaxed);
    }

    #[inline(always)]
    fn done(desc: &Desc16) -> Verdict {
        // Acquire: the load of DD comes before the application's loads of the packet.
        let word = desc[1].load(Acquire);
        if word & RX_DD == 0 {
            return Verdict::Pending;
        }
        if word & (RX_EOP | RX_DAMAGED) == RX_EOP {
            return Verdict::Frame((word >> RX_LEN_SHIFT) as u32 & 0xffff);
        }
        if word & RX_EOP == 0 {
            Verdict::Part
        } else {
            Verdict::Discard(Discard::Error)
        }
    }

    fn describe(desc: &Desc16) -> Option<String> {
        Some(describe::rx(words(desc)))
    }
}

fn words(desc: &Desc16) -> [u64; 2] {
    [desc[0].load(Relaxed), desc[1].load(Relaxed)]
}

/// Transmit data descriptor. Read format: address; command and lengths. Write-back: DD in the status.
#[derive(Debug)]
pub struct Tx;

/// DTYP data, DEXT, IFCS, EOP.
const TX_COMMAND: u64 = 3 << 20 | 1 << 29 | 1 << 25 | 1 << 24;
const TX_RS: u64 = 1 << 27;
const TX_PAYLEN_SHIFT: u32 = 46;
const TX_DD: u64 = 1 << 32;

impl Tx {
    #[inline(always)]
    fn command(len: u32) -> u64 {
        TX_COMMAND | len as u64 | (len as u64) << TX_PAYLEN_SHIFT
    }
}

impl TxFormat for Tx {
    type Desc = Desc16;
    /// TCTL.PSP pads packets from 17 bytes on (8.12.1).
    const SHORTEST: u32 = 17;

    #[inline(always)]
    fn post(desc: &Desc16, data: Iova, len: u32) {
        desc[0].store(data.raw(), Relaxed);
        desc[1].store(Self::command(len), Relaxed);
    }

    #[inline(always)]
    fn report(desc: &Desc16, len: u32) {
        desc[1].store(Self::command(len) | TX_RS, Relaxed);
    }

    #[inline(always)]
    fn done(desc: &Desc16) -> bool {
        // Acquire: DD comes before whoever gets the buffer next writes to it.
        desc[1].load(Acquire) & TX_DD != 0
    }

    fn describe(desc: &Desc16) -> Option<String> {
        Some(describe::tx(words(desc)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    proptest! {
        #[test]
        fn anything_written_back_is_read_without_surprise(word0: u64, word1: u64) {
            let desc: Desc16 = [AtomicU64::new(word0), AtomicU64::new(word1)];
            match Rx::done(&desc) {
                Verdict::Pending => prop_assert_eq!(word1 & RX_DD, 0),
                Verdict::Frame(len) => prop_assert_eq!(len as u64, word1 >> 32 & 0xffff),
                Verdict::Part => prop_assert_eq!(word1 & RX_EOP, 0),
                Verdict::Discard(_) => prop_assert_ne!(word1 & RX_DAMAGED, 0),
            }
        }

        #[test]
        fn an_armed_or_posted_descriptor_is_not_done(address: u64, len in 1u32..=u16::MAX as u32) {
            let desc: Desc16 = [AtomicU64::new(!0), AtomicU64::new(!0)];
            Rx::arm(&desc, Iova::new(address));
            prop_assert_eq!(Rx::done(&desc), Verdict::Pending);
            Tx::post(&desc, Iova::new(address), len);
            prop_assert!(!Tx::done(&desc));
            prop_assert_eq!(desc[1].load(Relaxed) & 0xffff, len as u64);
            prop_assert_eq!(desc[1].load(Relaxed) >> TX_PAYLEN_SHIFT, len as u64);
            Tx::report(&desc, len);
            prop_assert!(!Tx::done(&desc));
            prop_assert_eq!(desc[1].load(Relaxed) & TX_RS, TX_RS);
        }
    }
}
