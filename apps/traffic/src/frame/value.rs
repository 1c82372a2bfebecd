//! Values of fields, from text and to text.

use super::def::{Field, Kind};
use crate::error::{Result, TrafficError};
use barline::port::MacAddress;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A field's value: as wide as `field`, or an answer that says what would be right.
pub fn parse(field: &Field, text: &str) -> Result<u128> {
    let text = text.trim();
    let wrong = |form: &str| TrafficError::wrong(format!("{}={text}: write {form}", field.name));
    match field.kind {
        Kind::Mac => {
            let mac: MacAddress = text
                .parse()
                .map_err(|_| wrong("an address as 02:00:00:00:00:01"))?;
            Ok(mac.0.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
        }
        Kind::Ip4 => {
            let address: Ipv4Addr = text.parse().map_err(|_| wrong("an address as 198.18.0.1"))?;
            Ok(u32::from(address).into())
        }
        Kind::Ip6 => {
            let address: Ipv6Addr = text.parse().map_err(|_| wrong("an address as 2001:2::1"))?;
            Ok(address.into())
        }
        Kind::Number | Kind::Checksum => {
            let most = most(field);
            let value = number(text).filter(|value| *value <= most);
            value.ok_or_else(|| wrong(&format!("a number from 0 to {most}")))
        }
    }
}

/// The greatest value that a field holds.
pub fn most(field: &Field) -> u128 {
    u128::MAX >> (128 - field.bits)
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Bytes in hexadecimal; blanks and colons between them mean nothing.
pub fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace() && *byte != b':')
        .collect();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    let (pairs, odd) = digits.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes.filter(|_| odd.is_empty()).ok_or_else(|| {
        TrafficError::wrong(format!(
            "hex={text}: write pairs of hexadecimal digits, as in 00ff"
        ))
    })
}

/// Writes a field's value into its header.
pub fn put(header: &mut [u8], at: usize, bits: usize, value: u128) {
    for bit in 0..bits {
        let (place, one) = (at + bit, value >> (bits - 1 - bit) & 1);
        let mask = 0x80u8 >> (place % 8);
        if let Some(byte) = header.get_mut(place / 8) {
            *byte = if one == 1 { *byte | mask } else { *byte & !mask };
        }
    }
}

/// Reads it; bits beyond the header are 0.
pub fn get(header: &[u8], at: usize, bits: usize) -> u128 {
    (at..at + bits).fold(0, |sum, place| {
        let byte = header.get(place / 8).copied().unwrap_or(0);
        sum << 1 | u128::from(byte >> (7 - place % 8) & 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::def;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_got_and_nothing_else_changes(
            at in 0usize..40, bits in 1usize..=64, value: u128, old in proptest::collection::vec(any::<u8>(), 16)
        ) {
            let value = value & (u128::MAX >> (128 - bits));
            let mut header = old.clone();
            put(&mut header, at, bits, value);
            prop_assert_eq!(get(&header, at, bits), value);
            put(&mut header, at, bits, get(&old, at, bits));
            prop_assert_eq!(header, old);
        }
    }

    #[test]
    fn values_are_read_and_slips_answered() {
        let field = |layer: &str, name: &str| *def::layer(layer).unwrap().field(name).unwrap();
        assert_eq!(parse(&field("ipv4", "src"), "1.2.3.4").unwrap(), 0x0102_0304);
        assert_eq!(
            parse(&field("ethernet", "src"), "02:00:00:00:00:ff").unwrap(),
            0x0200_0000_00ff
        );
        assert_eq!(parse(&field("ipv6", "src"), "::5").unwrap(), 5);
        assert_eq!(parse(&field("vlan", "id"), "0xfff").unwrap(), 4095);
        let wrong = parse(&field("vlan", "id"), "4096").unwrap_err().to_string();
        assert_eq!(wrong, "id=4096: write a number from 0 to 4095");
        assert_eq!(hex("00 ff:1a").unwrap(), [0, 255, 26]);
        assert!(hex("0").is_err() && hex("0g").is_err());
    }
}
