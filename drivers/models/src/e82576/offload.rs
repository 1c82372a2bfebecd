//! Transmit offloads by context descriptor (7.2.2.1, 7.2.4): checksums and VLAN tags.

/// Context word 0: IPLEN (8:0), MACLEN (15:9), VLAN tag (31:16). Word 1: L4T (12:11 with the IP type at bit 10).
struct Context {
    mac: usize,
    ip: usize,
    tag: u16,
    udp: bool,
    tcp: bool,
}

impl Context {
    fn new(words: [u64; 2]) -> Self {
        let kind = words[1] >> 11 & 3;
        Self {
            mac: (words[0] >> 9 & 0x7f) as usize,
            ip: (words[0] & 0x1ff) as usize,
            tag: (words[0] >> 16) as u16,
            udp: kind == 0,
            tcp: kind == 1,
        }
    }
}

/// One's complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        total += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        total += u32::from(*last) << 8;
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Inserts the checksums asked for (IXSM, TXSM). The transport checksum's field holds the pseudo-header's sum, which
/// is software's part; what does not fit the packet is left as it is.
pub fn checksums(packet: &mut [u8], context: [u64; 2], (ip, transport): (bool, bool)) {
    let context = Context::new(context);
    let start = context.mac + context.ip;
    if ip && packet.len() >= start && context.ip >= 20 {
        put(packet, context.mac + 10, 0);
        let value = !sum(&packet[context.mac..start]);
        put(packet, context.mac + 10, value);
    }
    let field = match () {
        () if context.tcp => start + 16,
        () if context.udp => start + 6,
        () => return,
    };
    if transport && packet.len() >= field + 2 {
        let value = !sum(&packet[start..]);
        // A UDP checksum of zero means "none" and is sent as all ones.
        put(
            packet,
            field,
            if context.udp && value == 0 { 0xffff } else { value },
        );
    }
}

/// Inserts the context's VLAN tag behind the addresses (VLE).
pub fn insert_vlan(packet: &mut Vec<u8>, ether_type: u16, context: [u64; 2]) {
    let tag = Context::new(context).tag;
    if packet.len() >= 12 {
        let bytes = [ether_type.to_be_bytes(), tag.to_be_bytes()];
        packet.splice(12..12, bytes.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_checksum_of_the_textbook_header() {
        let mut packet = vec![0; 14];
        packet.extend([
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xab, 0xcd, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7,
        ]);
        checksums(&mut packet, [14 << 9 | 20, 0], (true, false));
        assert_eq!(packet[24..26], [0xb8, 0x61]);
    }

    #[test]
    fn nonsense_contexts_do_no_harm() {
        let mut packet = vec![1; 40];
        checksums(&mut packet, [u64::MAX, u64::MAX], (true, true));
        checksums(&mut packet, [0x7f << 9, 0], (true, true));
        assert_eq!(packet, vec![1; 40]);
        insert_vlan(&mut packet, 0x8100, [5 << 16, 0]);
        assert_eq!((packet.len(), &packet[12..16]), (44, &[0x81, 0, 0, 5][..]));
    }
}
