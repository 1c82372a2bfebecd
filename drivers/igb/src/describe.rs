//! Descriptors in words, for whoever looks for a fault (data sheet 7.1.5, 7.2.2).

use std::fmt::Write as _;

/// Bits by name, those that are not set left out.
fn named(bits: u64, names: &[(u32, &str)]) -> String {
    let set = names.iter().filter(|(bit, _)| bits >> bit & 1 != 0);
    let text = set.fold(String::new(), |mut text, (_, name)| {
        let _ = write!(text, " {name}");
        text
    });
    if text.is_empty() { " none".to_owned() } else { text }
}

const RX_STATUS: &[(u32, &str)] = &[
    (0, "DD"),
    (1, "EOP"),
    (3, "VP"),
    (4, "UDPCS"),
    (5, "L4CS"),
    (6, "IPCS"),
    (7, "PIF"),
];
const RX_ERRORS: &[(u32, &str)] = &[
    (24, "CE"),
    (25, "SE"),
    (26, "SEQ"),
    (28, "CXE"),
    (29, "L4E"),
    (30, "IPE"),
    (31, "RXE"),
];
const TX_COMMAND: &[(u32, &str)] = &[
    (24, "EOP"),
    (25, "IFCS"),
    (27, "RS"),
    (29, "DEXT"),
    (30, "VLE"),
    (31, "TSE"),
];

/// Receive, written back.
pub(crate) fn rx([first, second]: [u64; 2]) -> String {
    format!(
        "rx write-back, length {}, status{}, errors{}, packet type {:#05x}, RSS type {} hash {:#010x}, VLAN {:#06x}",
        second >> 32 & 0xffff,
        named(second & 0xf_ffff, RX_STATUS),
        named(second, RX_ERRORS),
        first >> 4 & 0x1fff,
        first & 0xf,
        first >> 32,
        second >> 48,
    )
}

/// Transmit, as it was posted; the device has written DD over it when it is done.
pub(crate) fn tx([first, second]: [u64; 2]) -> String {
    let command = named(second & 0xffff_ffff, TX_COMMAND);
    let state = if second >> 32 & 1 != 0 { "done" } else { "posted" };
    match second >> 20 & 0xf {
        2 => format!("tx context, command{command}, words {first:#018x} {second:#018x}"),
        3 => format!(
            "tx data, {state}, at {first:#x}, length {}, payload {}, command{command}",
            second & 0xffff,
            second >> 46,
        ),
        kind => format!("tx of type {kind}, {state}, words {first:#018x} {second:#018x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_data_sheet_has_them() {
        let text = rx([0x1234_5678_0000_0111, 60 << 32 | 0x23]);
        assert_eq!(
            text,
            "rx write-back, length 60, status DD EOP L4CS, errors none, packet type 0x011, RSS type 1 hash 0x12345678, VLAN 0x0000"
        );
        assert!(rx([0, 1 << 31 | 3]).contains("errors RXE,"));
        let posted = 1514 << 46 | 1 << 29 | 1 << 27 | 1 << 25 | 1 << 24 | 3 << 20 | 1514;
        assert_eq!(
            tx([0x1000, posted]),
            "tx data, posted, at 0x1000, length 1514, payload 1514, command EOP IFCS RS DEXT"
        );
        assert!(tx([0, posted | 1 << 32]).starts_with("tx data, done"));
        assert!(tx([0, 2 << 20]).starts_with("tx context"));
        assert!(tx([0, 0]).starts_with("tx of type 0"));
    }
}
