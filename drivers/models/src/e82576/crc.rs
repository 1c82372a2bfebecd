//! The Ethernet FCS (IEEE 802.3, 3.2.9).

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 {
                value >> 1 ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

static TABLE: [u32; 256] = table();

/// The FCS of a frame; on the wire it follows in little-endian byte order.
pub fn fcs(frame: &[u8]) -> u32 {
    !frame.iter().fold(!0, |crc, byte| {
        crc >> 8 ^ TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize]
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc_32() {
        assert_eq!(super::fcs(b"123456789"), 0xcbf4_3926);
    }
}
