//! Descriptors in words, for whoever looks for a fault (virtio 1.2, 2.7 and 2.8).

/// A descriptor's flags: those of both shapes, and those of a packed ring alone (2.8.1).
fn flags(bits: u16) -> String {
    let names = [
        (0, "NEXT"),
        (1, "WRITE"),
        (2, "INDIRECT"),
        (7, "AVAIL"),
        (15, "USED"),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| bits >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(" ")
    }
}

/// What was posted in a split ring: address; length, flags and next.
pub(crate) fn posted([address, rest]: [u64; 2]) -> String {
    let (len, flags) = (rest as u32, flags((rest >> 32) as u16));
    format!("at {address:#x}, length {len}, flags {flags}")
}

/// The same of a packed one, where the second half is length, id and flags.
pub(crate) fn packed([address, rest]: [u64; 2]) -> String {
    let (len, id, flags) = (rest as u32, (rest >> 32) as u16, flags((rest >> 48) as u16));
    format!("at {address:#x}, length {len}, id {id}, flags {flags}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_specification_has_them() {
        assert_eq!(posted([0x1000, 72]), "at 0x1000, length 72, flags none");
        assert_eq!(posted([0, 3 << 32 | 5]), "at 0x0, length 5, flags NEXT WRITE");
        let rest = 0x8082 << 48 | 7 << 32 | 72;
        assert_eq!(
            packed([0, rest]),
            "at 0x0, length 72, id 7, flags WRITE AVAIL USED"
        );
    }
}
