//! Results.

/// One result, of the guest or of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was seen.
    pub text: String,
}

impl Check {
    /// A result.
    pub fn new(name: impl Into<String>, ok: bool, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok,
            text: text.into(),
        }
    }

    /// Reads `TEST name ok|FAIL text`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("TEST ")?.splitn(3, ' ');
        let name = words.next()?;
        let ok = match words.next()? {
            "ok" => true,
            "FAIL" => false,
            _ => return None,
        };
        Some(Self::new(name, ok, words.next().unwrap_or_default().trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_parsed() {
        assert_eq!(Check::parse("TEST boot ok"), Some(Check::new("boot", true, "")));
        assert_eq!(
            Check::parse("TEST a FAIL b c"),
            Some(Check::new("a", false, "b c"))
        );
        assert_eq!(Check::parse("TEST a maybe"), None);
        assert_eq!(Check::parse("READY"), None);
    }
}
