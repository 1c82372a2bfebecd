//! Which frames the device takes (5.1.6.5.1 to 5.1.6.5.3).

/// Receive modes by VIRTIO_NET_CTRL_RX command.
pub mod mode {
    /// Everything.
    pub const PROMISC: u8 = 0;
    /// All multicast.
    pub const ALLMULTI: u8 = 1;
    /// All unicast.
    pub const ALLUNI: u8 = 2;
    /// No multicast.
    pub const NOMULTI: u8 = 3;
    /// No unicast.
    pub const NOUNI: u8 = 4;
    /// No broadcast.
    pub const NOBCAST: u8 = 5;
}

/// Filters as the driver set them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Bits by [`mode`].
    modes: u8,
    /// Addresses beside the device's own.
    table: Vec<[u8; 6]>,
    /// VLANs, a bit each.
    vlans: Vec<u64>,
}

impl Filter {
    /// Switches a mode.
    pub fn set(&mut self, mode: u8, on: bool) {
        self.modes = self.modes & !(1 << mode) | u8::from(on) << mode;
    }

    fn has(&self, mode: u8) -> bool {
        self.modes >> mode & 1 != 0
    }

    /// Replaces the table.
    pub fn set_table(&mut self, table: Vec<[u8; 6]>) {
        self.table = table;
    }

    /// Adds or removes a VLAN.
    pub fn set_vlan(&mut self, vlan: u16, on: bool) {
        self.vlans.resize(64, 0);
        let (word, bit) = (usize::from(vlan >> 6) % 64, vlan & 63);
        self.vlans[word] = self.vlans[word] & !(1 << bit) | u64::from(on) << bit;
    }

    /// Whether a frame passes. `vlan` is its tag, where tags are filtered.
    pub fn takes(&self, mac: [u8; 6], frame: &[u8], vlan: Option<u16>) -> bool {
        let Some(&to) = frame.first_chunk::<6>() else {
            return false;
        };
        if self.has(mode::PROMISC) {
            return true;
        }
        let tagged = |vlan: u16| {
            let word = self.vlans.get(usize::from(vlan >> 6)).copied().unwrap_or(0);
            word >> (vlan & 63) & 1 != 0
        };
        let listed = || self.table.contains(&to);
        let address = match to {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => !self.has(mode::NOBCAST),
            [first, ..] if first & 1 != 0 => {
                !self.has(mode::NOMULTI) && (self.has(mode::ALLMULTI) || listed())
            }
            _ => !self.has(mode::NOUNI) && (self.has(mode::ALLUNI) || to == mac || listed()),
        };
        address && vlan.is_none_or(tagged)
    }
}
