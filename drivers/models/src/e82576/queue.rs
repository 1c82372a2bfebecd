//! Descriptor rings as the device holds them, and their registers (8.10.2 to 8.10.11, 8.12.9 to 8.12.16).

use barline_sim::Place;

/// Offsets in a queue's block of registers; the two directions differ where a comment says so.
pub mod at {
    /// RDBAL, TDBAL.
    pub const BASE_LOW: u32 = 0x00;
    /// RDBAH, TDBAH.
    pub const BASE_HIGH: u32 = 0x04;
    /// RDLEN, TDLEN.
    pub const LEN: u32 = 0x08;
    /// SRRCTL (receive only).
    pub const SRRCTL: u32 = 0x0C;
    /// RDH, TDH.
    pub const HEAD: u32 = 0x10;
    /// RXCTL, TXCTL: DCA.
    pub const DCA: u32 = 0x14;
    /// RDT, TDT.
    pub const TAIL: u32 = 0x18;
    /// RXDCTL, TXDCTL.
    pub const CONTROL: u32 = 0x28;
    /// RQDPC (receive only).
    pub const DROPPED: u32 = 0x30;
    /// TDWBAL (transmit); DVMOLR (receive).
    pub const EXTRA_LOW: u32 = 0x38;
    /// TDWBAH (transmit only).
    pub const EXTRA_HIGH: u32 = 0x3C;
}

/// RXDCTL and TXDCTL: queue enable.
pub const ENABLE: u32 = 1 << 25;
/// RXDCTL and TXDCTL: software flush, which clears itself.
const FLUSH: u32 = 1 << 26;
/// PTHRESH, HTHRESH, WTHRESH and ENABLE, and the transmit priority.
const CONTROL_BITS: u32 = 0x0a1f_1f1f;
/// Base and length are multiples of 128 bytes: the low bits read as zero.
const ALIGNED: u32 = !0x7f;
/// A ring is at most 32,768 descriptors: LEN is bits 19:7.
const LEN_BITS: u32 = 0x000f_ff80;

/// SRRCTL (8.10.2).
pub mod srrctl {
    /// Buffer size in KiB.
    pub const BSIZEPACKET: u32 = 0x7f;
    /// Descriptor type field.
    pub const DESCTYPE_SHIFT: u32 = 25;
    /// Advanced, one buffer.
    pub const ADVANCED_ONE_BUFFER: u32 = 1;
    /// Drop when there is no descriptor.
    pub const DROP_EN: u32 = 1 << 31;
    /// After reset: 256 bytes of header buffer.
    pub const RESET: u32 = 0x0000_0400;
}

/// One ring.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Address of descriptor 0.
    pub base: u64,
    /// Length register.
    len: u32,
    /// Next descriptor the device uses.
    pub head: u32,
    /// First descriptor that is the driver's.
    pub tail: u32,
    /// RXDCTL or TXDCTL.
    pub control: u32,
    dca: u32,
    /// SRRCTL, or unused.
    pub srrctl: u32,
    /// RQDPC, or unused.
    pub dropped: u32,
    /// TDWBAH:TDWBAL, or DVMOLR.
    pub extra: u64,
    /// The driver has read the enable bit as 1.
    confirmed: bool,
    /// A fault or a malformed descriptor stopped it until it is enabled again.
    pub stopped: bool,
}

/// What a driver did that the data sheet forbids; the device ignores it or stops the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The tail was moved while the queue was disabled (8.10.8, 8.12.13): ignored.
    TailWhileDisabled,
    /// The tail was moved before ENABLE was read as 1 (4.5.9, 4.5.10: poll it first): ignored, as a device that is
    /// slow to enable the queue would.
    TailBeforeEnabled,
    /// The tail points past the ring: ignored.
    TailOutside(u32),
    /// The head was written while the queue was enabled: ignored.
    HeadWhileEnabled,
    /// Base or length was written while the queue was enabled: it takes effect at once, which no driver wants.
    RingWhileEnabled,
    /// Base or length is not a multiple of 128 bytes (8.10.5, 8.10.7): the low bits are lost.
    Unaligned(u32),
    /// SRRCTL.DESCTYPE is not one this model does; the value. The queue stops.
    DescriptorType(u32),
    /// A receive descriptor was given to the device with bit 0 of its second word set, where the device is to
    /// report "done": a driver that polls it takes the old frame for a new one. Descriptor index.
    DoneNotCleared(u32),
    /// Unknown transmit descriptor type; the second word. The queue stops.
    TransmitType(u64),
    /// A transmit descriptor of no bytes; index. The queue stops.
    EmptyTransmit(u32),
    /// A frame of more than 9,728 bytes. The queue stops.
    TransmitTooLong(usize),
    /// A frame below 17 bytes, which the MAC cannot pad (8.12.1): not sent.
    TransmitTooShort(usize),
    /// PAYLEN is not the sum of the frame's buffers (7.2.2.3.11).
    PayloadLength {
        /// PAYLEN.
        said: u32,
        /// Sum of the lengths.
        is: u32,
    },
    /// A frame without IFCS whose last four bytes are not its FCS: not sent, as every receiver would drop it.
    BadFcs,
    /// Segmentation (TSE) was asked for, which this model does not do. The queue stops.
    Segmentation,
    /// A register that only exists for the other direction, or a hole among the queue's registers; offset.
    QueueRegister(u32),
}

impl Ring {
    /// The ring after a reset. Queue 0 comes up enabled (8.10.9, 8.12.15).
    pub fn new(queue: usize, receive: bool) -> Self {
        let enable = if queue == 0 { ENABLE } else { 0 };
        let (control, srrctl) = match receive {
            // WTHRESH 1; queues but the first drop by default.
            true => (
                1 << 16 | enable,
                srrctl::RESET | if queue == 0 { 0 } else { srrctl::DROP_EN },
            ),
            false => (enable, 0),
        };
        Self {
            control,
            srrctl,
            ..Self::default()
        }
    }

    /// Descriptors in the ring.
    #[inline]
    pub fn size(&self) -> u32 {
        self.len / 16
    }

    /// Whether the device may work on it.
    #[inline]
    pub fn runs(&self) -> bool {
        // A ring made shorter under its pointers would never end.
        let inside = self.head.max(self.tail) < self.size();
        self.control & ENABLE != 0 && !self.stopped && inside
    }

    /// Descriptors between head and tail: the device's.
    #[inline]
    pub fn available(&self) -> u32 {
        let wrap = if self.tail >= self.head { 0 } else { self.size() };
        // A head past the ring is a driver's doing; then nothing is the device's.
        (self.tail + wrap).saturating_sub(self.head)
    }

    /// Address of the descriptor at the head.
    #[inline]
    pub fn head_iova(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.head) * 16)
    }

    /// The descriptor at the head, as one of the ring.
    #[inline]
    pub fn head_place(&self) -> Place {
        Place {
            base: self.base,
            size: self.size(),
            index: self.head,
        }
    }

    /// Moves the head on.
    #[inline]
    pub fn advance(&mut self) {
        self.head += 1;
        if self.head >= self.size() {
            self.head = 0;
        }
    }

    /// A register read, at an offset in the queue's block.
    pub fn read(&mut self, at: u32) -> Result<u32, Misuse> {
        Ok(match at {
            at::BASE_LOW => self.base as u32,
            at::BASE_HIGH => (self.base >> 32) as u32,
            at::LEN => self.len,
            at::SRRCTL => self.srrctl,
            at::HEAD => self.head,
            at::DCA => self.dca,
            at::TAIL => self.tail,
            at::CONTROL => {
                self.confirmed = self.control & ENABLE != 0;
                self.control
            }
            // 12 bits, cleared by reading (8.18).
            at::DROPPED => std::mem::take(&mut self.dropped),
            at::EXTRA_LOW => self.extra as u32,
            at::EXTRA_HIGH => (self.extra >> 32) as u32,
            _ => return Err(Misuse::QueueRegister(at)),
        })
    }

    /// A register write. True where the tail moved.
    pub fn write(&mut self, at: u32, value: u32) -> Result<bool, Misuse> {
        let on = self.control & ENABLE != 0;
        match at {
            at::BASE_LOW | at::BASE_HIGH | at::LEN => return self.place(at, value, on).map(|()| false),
            at::SRRCTL => self.srrctl = value & 0xfe1f_0f7f,
            at::HEAD if on && value != self.head => return Err(Misuse::HeadWhileEnabled),
            at::HEAD => self.head = value & 0xffff,
            at::DCA => self.dca = value,
            at::TAIL => return self.bump(value & 0xffff, on),
            at::CONTROL => self.control(value, on),
            at::DROPPED => {}
            at::EXTRA_LOW => self.extra = (self.extra & !0xffff_ffff) | u64::from(value),
            at::EXTRA_HIGH => self.extra = (self.extra & 0xffff_ffff) | (u64::from(value) << 32),
            _ => return Err(Misuse::QueueRegister(at)),
        }
        Ok(false)
    }

    fn place(&mut self, at: u32, value: u32, on: bool) -> Result<(), Misuse> {
        let changed = match at {
            at::BASE_HIGH => {
                let old = (self.base >> 32) as u32;
                self.base = (self.base & 0xffff_ffff) | (u64::from(value) << 32);
                old != value
            }
            at::BASE_LOW => {
                let old = self.base as u32;
                self.base = (self.base & !0xffff_ffff) | u64::from(value & ALIGNED);
                old != value
            }
            _ => {
                let old = self.len;
                self.len = value & LEN_BITS;
                old != value
            }
        };
        if at != at::BASE_HIGH && value & !ALIGNED != 0 {
            return Err(Misuse::Unaligned(value));
        }
        // Queue 0 is enabled by reset: a ring it never had is not one it loses.
        if on && changed && self.tail != self.head {
            return Err(Misuse::RingWhileEnabled);
        }
        Ok(())
    }

    fn bump(&mut self, value: u32, on: bool) -> Result<bool, Misuse> {
        if !on {
            // A driver that clears both pointers before it enables the queue does no harm.
            return if value == 0 {
                Ok(false)
            } else {
                Err(Misuse::TailWhileDisabled)
            };
        }
        if value >= self.size().max(1) {
            return Err(Misuse::TailOutside(value));
        }
        if !self.confirmed && value != self.tail {
            return Err(Misuse::TailBeforeEnabled);
        }
        self.tail = value;
        Ok(true)
    }

    fn control(&mut self, value: u32, on: bool) {
        self.control = value & CONTROL_BITS & !FLUSH;
        if value & ENABLE != 0 && !on {
            self.confirmed = false;
            // Enabling sets up the queue's internal state anew (8.10.9).
            (self.head, self.tail, self.stopped) = (0, 0, false);
        }
    }
}
