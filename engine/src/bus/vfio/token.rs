use super::VfioError;
use std::fmt;
use std::str::FromStr;

/// The secret that the owner of a PF shares with the users of its VFs: a UUID.
///
/// The kernel compares it when a VF is opened whose PF is bound to vfio-pci: the PF's owner can then disturb the VF, so
/// that both must know of each other. It is no key: whoever can read a process's memory has it. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VfToken([u8; 16]);

impl VfToken {
    /// The bytes in the order of the text, as the kernel keeps them (`uuid_t`).
    pub(super) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 8-4-4-4-12 hexadecimal digits: the one form that the kernel parses.
    pub(super) fn text(&self) -> String {
        let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex(&self.0[range]));
        parts.join("-")
    }
}

impl FromStr for VfToken {
    type Err = VfioError;

    /// # Errors
    /// [`VfioError::BadToken`]: not 8-4-4-4-12 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, VfioError> {
        let wrong = || VfioError::BadToken(text.to_owned());
        let dash = |at: usize| [8, 13, 18, 23].contains(&at);
        let good = |(at, byte): (usize, u8)| {
            if dash(at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        };
        if text.len() != 36 || !text.bytes().enumerate().all(good) {
            return Err(wrong());
        }
        let digits = text.replace('-', "");
        let value = u128::from_str_radix(&digits, 16).map_err(|_| wrong())?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl fmt::Debug for VfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VfToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_stand_in_the_order_of_the_text() {
        let token: VfToken = "2AB74924-c335-45f4-9b16-8569e5b08258".parse().unwrap();
        assert_eq!(token.bytes()[..5], [0x2a, 0xb7, 0x49, 0x24, 0xc3]);
        assert_eq!(token.bytes()[15], 0x58);
        assert_eq!(token.text(), "2ab74924-c335-45f4-9b16-8569e5b08258");
        assert!(!format!("{token:?}").contains("2ab7"));
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        let wrong = [
            "",
            "1",
            "2ab74924-c335-45f4-9b16-8569e5b0825g",
            "2ab74924c335-45f4-9b16-8569e5b0825--",
            "+ab74924-c335-45f4-9b16-8569e5b08258",
            "\0",
        ];
        for token in wrong {
            assert!(
                matches!(token.parse::<VfToken>(), Err(VfioError::BadToken(_))),
                "{token:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn tokens_round_trip(bytes: [u8; 16]) {
            let token = VfToken(bytes);
            prop_assert_eq!(token.text().parse::<VfToken>().unwrap(), token);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<VfToken>();
        }
    }
}
