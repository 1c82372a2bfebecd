use barline::port::MacAddress;

/// Destination and source of an Ethernet frame, as they stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses(pub [u8; 12]);

impl Addresses {
    /// From the two addresses.
    pub fn new(destination: MacAddress, source: MacAddress) -> Self {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&destination.0);
        bytes[6..].copy_from_slice(&source.0);
        Self(bytes)
    }

    /// What DPDK's l2fwd writes: 02:00:00:00:00 and the number of the port that sends, then that port's own address.
    pub fn l2fwd(port: u8, mac: MacAddress) -> Self {
        Self::new(MacAddress([2, 0, 0, 0, 0, port]), mac)
    }
}

/// Swaps destination and source; a frame too short to have both is left alone.
#[inline(always)]
pub fn swap_addresses(frame: &mut [u8]) {
    // Two overlapping words, so that the swap is two loads and two stores; a whole header has the bytes for it.
    if let Some(front) = frame.first_chunk_mut::<14>()
        && let (Some(low), Some(high)) = (front.first_chunk(), front.last_chunk())
    {
        let (low, high) = (u64::from_le_bytes(*low), u64::from_le_bytes(*high));
        let first = (high & 0xffff_ffff_ffff) | (low << 48);
        front[..8].copy_from_slice(&first.to_le_bytes());
        front[8..12].copy_from_slice(&((low >> 16) as u32).to_le_bytes());
    } else {
        swap_in_stub(frame);
    }
}

/// The same for a frame that ends before its type field does.
#[cold]
#[inline(never)]
fn swap_in_stub(frame: &mut [u8]) {
    if let Some(front) = frame.first_chunk_mut::<12>() {
        front.rotate_left(6);
    }
}

/// Writes both addresses; a frame too short to have both is left alone.
#[inline(always)]
pub fn set_addresses(frame: &mut [u8], addresses: &Addresses) {
    if let Some(front) = frame.first_chunk_mut() {
        *front = addresses.0;
    }
}

/// Bytes of Ethernet, IPv4 and UDP header.
pub const HEADERS: usize = 42;

/// A length that no template can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frames of {0} bytes asked for; a UDP frame has {HEADERS} to 9600")]
pub struct TemplateError(pub usize);

/// The frame that [`crate::txonly`] sends: a UDP datagram from 198.18.0.1 to 198.18.0.2, both ports 9 (discard), as
/// testpmd's. Its headers are written for each packet; its payload is whatever the buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    headers: [u8; HEADERS],
    len: u16,
}

impl Template {
    /// Frames of `len` bytes, without FCS.
    ///
    /// # Errors
    /// [`TemplateError`]: shorter than the headers, or longer than 9,600 bytes.
    pub fn udp(len: usize, addresses: Addresses) -> Result<Self, TemplateError> {
        if !(HEADERS..=9600).contains(&len) {
            return Err(TemplateError(len));
        }
        let len = len as u16;
        let mut headers = [0; HEADERS];
        headers[..12].copy_from_slice(&addresses.0);
        headers[12..14].copy_from_slice(&[0x08, 0x00]);
        headers[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        headers[16..18].copy_from_slice(&(len - 14).to_be_bytes());
        headers[26..34].copy_from_slice(&[198, 18, 0, 1, 198, 18, 0, 2]);
        headers[34..38].copy_from_slice(&[0, 9, 0, 9]);
        headers[38..40].copy_from_slice(&(len - 34).to_be_bytes());
        let sum = checksum(&headers[14..34]);
        headers[24..26].copy_from_slice(&sum.to_be_bytes());
        Ok(Self { headers, len })
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Writes the headers; a frame too short for them is left alone.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8]) {
        if let Some(front) = frame.first_chunk_mut() {
            *front = self.headers;
        }
    }
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .as_chunks()
        .0
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAIR: Addresses = Addresses([0xaa; 12]);

    proptest! {
        #[test]
        fn addresses_are_swapped_and_nothing_else(frame in proptest::collection::vec(any::<u8>(), 0..=64)) {
            let mut ours = frame.clone();
            swap_addresses(&mut ours);
            let mut wanted = frame.clone();
            if frame.len() >= 12 {
                wanted[..12].rotate_left(6);
            }
            prop_assert_eq!(&ours, &wanted);
            swap_addresses(&mut ours);
            prop_assert_eq!(ours, frame);
        }
    }

    #[test]
    fn every_length_up_to_64() {
        for len in 0..=64 {
            let frame: Vec<u8> = (1..=len).collect();
            let (mut swapped, mut set, mut made) = (frame.clone(), frame.clone(), frame.clone());
            swap_addresses(&mut swapped);
            set_addresses(&mut set, &PAIR);
            let template = Template::udp(64, PAIR).unwrap();
            template.write(&mut made);
            let at = |edge: u8| usize::from(if len < edge { 0 } else { edge });
            assert_eq!(swapped[at(12)..], frame[at(12)..]);
            assert_eq!(set[at(12)..], frame[at(12)..]);
            assert_eq!(made[at(42)..], frame[at(42)..]);
            if len >= 12 {
                assert_eq!(swapped[..12], [7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6]);
                assert_eq!(set[..12], PAIR.0);
            }
        }
    }

    #[test]
    fn l2fwd_writes_the_ports_number_and_address() {
        let mac = MacAddress([0x52, 0x54, 0, 0, 0, 9]);
        assert_eq!(
            Addresses::l2fwd(3, mac).0,
            [2, 0, 0, 0, 0, 3, 0x52, 0x54, 0, 0, 0, 9]
        );
    }

    #[test]
    fn the_template_is_the_frame_that_testpmd_sends() {
        let addresses = Addresses([2, 0, 0, 0, 0, 0, 2, 0x70, 0x63, 0x61, 0x70, 0]);
        // Captured from testpmd 22.11 in txonly mode, 64 bytes.
        let seen = [
            0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x70, 0x63, 0x61, 0x70, 0x00, 0x08, 0x00, 0x45, 0x00,
            0x00, 0x32, 0x00, 0x00, 0x00, 0x00, 0x40, 0x11, 0xee, 0x93, 0xc6, 0x12, 0x00, 0x01, 0xc6, 0x12,
            0x00, 0x02, 0x00, 0x09, 0x00, 0x09, 0x00, 0x1e, 0x00, 0x00,
        ];
        assert_eq!(Template::udp(64, addresses).unwrap().headers, seen);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(Template::udp(41, PAIR), Err(TemplateError(41)));
        assert_eq!(Template::udp(9601, PAIR), Err(TemplateError(9601)));
        assert_eq!(Template::udp(42, PAIR).unwrap().len(), 42);
    }
}
