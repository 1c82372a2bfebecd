//! The kinds of ports: one row of [`KINDS`] and one file each.
//!
//! To add one: a file beside this one with a [`Target`] and a `pub(super) const KIND`, and its row in [`KINDS`]. The
//! parser, `--help` of the applications, messages, `engine/docs/ports.md` and the tests all read that table.

mod af_packet;
mod af_xdp;
mod null;
mod pcap;
mod pci;
mod ring;
mod sim;
mod tap;
mod vhost_user;
mod virtio_user;

#[cfg(test)]
pub(crate) use pci::ADDRESS;
pub(crate) use pci::Pci;
pub use sim::SimSpec;

use crate::near::nearest;
use crate::opened::Fresh;
use crate::spec::Bus;
use crate::wraps::WRAPS;
use crate::{OpenError, Opener};
use std::fmt::{Debug, Display};

/// One kind of port, as a user sees it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What is before the colon.
    pub name: &'static str,
    /// How it is written: what may be left out is in brackets.
    pub form: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// A right one. It need not exist on this machine.
    pub example: &'static str,
    /// Options without a value.
    pub(crate) flags: &'static [&'static str],
    pub(crate) parse: fn(&Given<'_>) -> Result<Box<dyn Target>, String>,
}

/// All kinds, in the order in which they are shown.
pub const KINDS: &[Kind] = &[
    pci::KIND,
    pci::KMOD,
    sim::KIND,
    vhost_user::KIND,
    virtio_user::KIND,
    af_packet::KIND,
    af_xdp::KIND,
    tap::KIND,
    pcap::KIND,
    null::KIND,
    ring::KIND,
];

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// A port that was named, and can be opened. Its text (`Display`) is what the parser takes back, and says everything that
/// is not the default: two ports with the same text are equal.
pub(crate) trait Target: Display + Debug + Send + Sync {
    /// Opens it.
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError>;

    /// Whether it is a simulated device, with a feed.
    fn is_simulated(&self) -> bool {
        false
    }

    /// The simulated cable that it is plugged into.
    fn wire(&self) -> Option<&str> {
        None
    }

    /// Bytes that are free in front of what it receives, whatever the pool's headroom is.
    fn headroom(&self) -> usize {
        0
    }
}

/// What stands behind a kind's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// What an address alone is on, for kinds that name another port.
    #[allow(dead_code, reason = "no kind of this build does")]
    pub bus: Bus,
    /// Between the colon and the first comma.
    pub name: &'a str,
    /// Behind that comma.
    pub options: &'a str,
}

impl<'a> Given<'a> {
    /// Options, as key and value; a flag has no value.
    pub fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.options)
    }

    /// All that is behind the colon, as options.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.name).chain(pairs(self.options))
    }
}

/// Options, as key and value.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let given = text.split(',').filter(|option| !option.is_empty());
    given.map(|option| option.split_once('=').unwrap_or((option, "")))
}

/// The message about an option that is none of `known`, in which those with a value end with an equals sign.
pub(crate) fn no_option(key: &str, known: &[&str]) -> String {
    if known.contains(&key) {
        return format!("{key:?} takes no value; write {key} alone");
    }
    let near = nearest(key, known.iter().copied());
    format!("there is no option {key:?}; did you mean {near}?")
}

/// A whole number from `least` to `most`.
pub(crate) fn number<T>(key: &str, value: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + Display,
{
    let number = value.parse().ok().filter(|n| (&least..=&most).contains(&n));
    number.ok_or_else(|| format!("write {key}={least} to {key}={most}"))
}

/// Columns of the text of `--help`.
const HELP_WIDTH: usize = 100;

/// A text in lines of at most `width` columns; a longer word has one to itself.
fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let (mut lines, mut from, mut end) = (Vec::new(), 0, 0);
    for (at, _) in text.match_indices(' ').chain([(text.len(), "")]) {
        if at - from > width && end > from {
            lines.push(&text[from..end]);
            from = end + 1;
        }
        end = at;
    }
    lines.push(&text[from..]);
    lines
}

/// A table of all kinds and wrappers for `--help`.
pub fn help() -> String {
    let kinds = KINDS.iter().map(|kind| (kind.example, kind.about));
    let wraps = WRAPS.iter().map(|wrap| (wrap.example, wrap.about));
    let rows = |rows: &[(&str, &str)]| -> String {
        let width = rows.iter().map(|(example, _)| example.len()).max().unwrap_or(0);
        let row = |(example, about): &(&str, &str)| {
            let about = wrapped(about, HELP_WIDTH.saturating_sub(width + 4));
            let rest = about
                .iter()
                .skip(1)
                .map(|line| format!("\n  {:width$}  {line}", ""));
            let first = about.first().copied().unwrap_or_default();
            format!("\n  {example:width$}  {first}{}", rest.collect::<String>())
        };
        rows.iter().map(row).collect()
    };
    format!(
        "Ports (an address alone is pci:, or kmod: with --bus kmod; all options: engine/docs/ports.md):{}\n\n\
         Around any port, one or several:{}",
        rows(&kinds.collect::<Vec<_>>()),
        rows(&wraps.collect::<Vec<_>>()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_keeps_its_columns() {
        let help = help();
        assert!(help.lines().all(|line| line.len() <= HELP_WIDTH), "{help}");
        let continued: Vec<&str> = help.lines().filter(|line| line.starts_with("    ")).collect();
        assert!(!continued.is_empty(), "{help}");
        let column = help
            .find("a PCI function")
            .map(|at| at - help[..at].rfind('\n').unwrap_or(0) - 1);
        assert_eq!(continued[0].find(|c| c != ' '), column, "{help}");
    }

    proptest! {
        #[test]
        fn wrapping_loses_no_word(words in prop::collection::vec("[a-z]{1,12}", 0..30), width in 1usize..40) {
            let text = words.join(" ");
            let lines = wrapped(&text, width);
            prop_assert_eq!(lines.join(" "), text.clone());
            for line in lines {
                prop_assert!(line.len() <= width || !line.contains(' '), "{line:?}");
            }
        }
    }
}
