//! PCI configuration space (PCI 3.0 chapter 6, PCI Express base 2.0 chapter 7).

use std::fmt;

/// Who a function says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem device.
    pub subsystem_device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code: base, sub, interface.
    pub class: u32,
}

const LEN: usize = 4096;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const EXTENDED: usize = 0x100;
/// Memory space and bus master, parity, SERR, INTx disable; I/O space is not there.
const COMMAND_WRITABLE: u16 = 0x0546;
const MEMORY: u16 = 1 << 1;
const MASTER: u16 = 1 << 2;
/// STATUS: capability list.
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// 4,096 bytes of configuration space with a write mask for every bit.
pub struct ConfigSpace {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    initial: Vec<u8>,
    last_capability: usize,
    last_extended: Option<usize>,
}

impl ConfigSpace {
    /// A type 0 header. Memory decoding is on already, as the kernel leaves it; bus mastering is off.
    pub fn new(id: Identity) -> Self {
        let mut space = Self {
            bytes: vec![0; LEN],
            writable: vec![0; LEN],
            initial: Vec::new(),
            last_capability: CAPABILITIES,
            last_extended: None,
        };
        space.put(0x00, &id.vendor.to_le_bytes());
        space.put(0x02, &id.device.to_le_bytes());
        space.put(0x08, &((id.class << 8) | u32::from(id.revision)).to_le_bytes());
        space.put(0x2c, &id.subsystem_vendor.to_le_bytes());
        space.put(0x2e, &id.subsystem_device.to_le_bytes());
        space.put(COMMAND, &MEMORY.to_le_bytes());
        space.put(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        // Interrupt pin A; line and cache line size are the system's scratch.
        space.put(0x3d, &[1]);
        space.allow(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        space.allow(0x0c, &[0xff]);
        space.allow(0x3c, &[0xff]);
        space
    }

    /// A 32-bit memory BAR of `len` bytes, a power of two: writing all ones reads back its size.
    pub fn memory_bar(&mut self, index: usize, len: u32) {
        if index < 6 && len.is_power_of_two() {
            self.allow(BARS + index * 4, &(!(len - 1)).to_le_bytes());
        }
    }

    /// A 64-bit prefetchable memory BAR, which takes `index` and the next: `len` is a power of two below 4 GiB.
    pub fn memory_bar64(&mut self, index: usize, len: u32) {
        if index < 5 && len.is_power_of_two() {
            self.put(BARS + index * 4, &[0b1100]);
            self.allow(BARS + index * 4, &(!(len - 1) & !0xf).to_le_bytes());
            self.allow(BARS + index * 4 + 4, &[0xff; 4]);
        }
    }

    /// An I/O BAR of `len` bytes, a power of two. It can be sized; nothing answers behind it.
    pub fn io_bar(&mut self, index: usize, len: u32) {
        if index < 6 && len.is_power_of_two() {
            self.put(BARS + index * 4, &[1]);
            self.allow(BARS + index * 4, &(!(len - 1) & !3).to_le_bytes());
        }
    }

    /// Appends a capability: `body` is what follows the id and the pointer, `writable` the mask over it.
    pub fn capability(&mut self, at: u8, id: u8, body: &[u8], writable: &[u8]) {
        let link = self.last_capability + usize::from(self.last_capability != CAPABILITIES);
        self.put(link, &[at]);
        self.put(at.into(), &[id, 0]);
        self.put(usize::from(at) + 2, body);
        self.allow(usize::from(at) + 2, writable);
        self.last_capability = at.into();
    }

    /// Appends an extended capability, the first at 0x100.
    pub fn extended(&mut self, at: u16, id: u16, version: u8, body: &[u8]) {
        if let Some(last) = self.last_extended {
            let version = self.bytes[last + 2] & 0xf;
            self.put(last + 2, &((at << 4) | u16::from(version)).to_le_bytes());
        }
        debug_assert!(self.last_extended.is_some() || usize::from(at) == EXTENDED);
        self.put(at.into(), &id.to_le_bytes());
        self.put(usize::from(at) + 2, &u16::from(version).to_le_bytes());
        self.put(usize::from(at) + 4, body);
        self.last_extended = Some(at.into());
    }

    /// Done: what stands now is what a reset brings back.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.initial = self.bytes.clone();
        self
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        for (to, from) in self.writable.iter_mut().skip(at).zip(mask) {
            *to = *from;
        }
    }

    /// A read by the host; zeros past the end.
    pub fn read(&self, offset: u16, buf: &mut [u8]) {
        let from = self
            .bytes
            .iter()
            .skip(offset.into())
            .copied()
            .chain(std::iter::repeat(0));
        for (to, from) in buf.iter_mut().zip(from) {
            *to = from;
        }
    }

    /// Sets bytes as the device does.
    pub fn set(&mut self, offset: u16, bytes: &[u8]) {
        self.put(offset.into(), bytes);
    }

    /// A write by the host, under the masks.
    pub fn write(&mut self, offset: u16, buf: &[u8]) {
        let cells = self.bytes.iter_mut().zip(&self.writable).skip(offset.into());
        for ((cell, mask), from) in cells.zip(buf) {
            *cell = (*cell & !mask) | (from & mask);
        }
    }

    /// Function-level reset: everything as it was made, bus mastering off.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.initial);
    }

    /// COMMAND bit 2.
    pub fn bus_master(&self) -> bool {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]]) & MASTER != 0
    }
}

impl fmt::Debug for ConfigSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| self.bytes[at]);
        write!(
            f,
            "ConfigSpace({b:02x}{a:02x}:{d:02x}{c:02x}, master {})",
            self.bus_master()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        let id = Identity {
            vendor: 0x8086,
            device: 0x10c9,
            subsystem_vendor: 0x8086,
            subsystem_device: 1,
            revision: 1,
            class: 0x02_0000,
        };
        let mut space = ConfigSpace::new(id);
        space.memory_bar(0, 128 << 10);
        space.capability(0x40, 0x01, &[3, 0], &[]);
        space.capability(0x70, 0x11, &[9, 0], &[0, 0xc0]);
        space.extended(0x100, 0x0001, 1, &[]);
        space.extended(0x140, 0x0003, 1, &[1, 2, 3, 4]);
        space.finish()
    }

    fn word(space: &ConfigSpace, at: u16) -> u32 {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn bars_size_and_only_masked_bits_take() {
        let mut space = space();
        space.write(0x10, &[0xff; 4]);
        space.write(0x14, &[0xff; 4]);
        space.write(0x00, &[0xff; 4]);
        assert_eq!(
            (word(&space, 0x10), word(&space, 0x14), word(&space, 0)),
            (0xfffe_0000, 0, 0x10c9_8086)
        );
        assert!(!space.bus_master());
        space.write(4, &[6, 0]);
        assert!(space.bus_master());
        space.reset();
        assert!(!space.bus_master());
        assert_eq!((word(&space, 0x10), word(&space, 8)), (0, 0x0200_0001));
        space.write(4094, &[1; 4]);
        assert_eq!(word(&space, 4094), 0);
    }

    #[test]
    fn wide_and_io_bars_say_what_they_are() {
        let mut space = space();
        space.memory_bar64(2, 16 << 10);
        space.io_bar(4, 32);
        (0x18..0x24).for_each(|at| space.write(at, &[0xff]));
        assert_eq!(
            [0x18, 0x1c, 0x20].map(|at| word(&space, at)),
            [0xffff_c00c, 0xffff_ffff, 0xffff_ffe1]
        );
    }

    #[test]
    fn capabilities_are_chained() {
        let space = space();
        assert_eq!(word(&space, 0x34) & 0xff, 0x40);
        assert_eq!(word(&space, 0x40), 0x0003_7001);
        assert_eq!(word(&space, 0x70), 0x0009_0011);
        assert_eq!(word(&space, 0x100), 0x1401_0001);
        assert_eq!(
            (word(&space, 0x140), word(&space, 0x144)),
            (0x0001_0003, 0x0403_0201)
        );
    }
}
