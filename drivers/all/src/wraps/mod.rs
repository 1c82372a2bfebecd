//! What can be put around any port: one row of [`WRAPS`] and one file each, written behind the port as `+NAME=VALUE`.
//! Several wrap each other, the last one outermost.
//!
//! To add one: a file beside this one with a [`Layer`] and its row.

mod impair;
mod watch;

use crate::kinds::Target;
use crate::near::{nearest, slips};
use crate::opened::Fresh;
use crate::{OpenError, Opener};
use barline_wrap::{Wrapped, Wrapper};
use std::fmt::{self, Debug, Display};

/// One wrapper, as a user sees it.
#[derive(Clone, Copy, Debug)]
pub struct Wrap {
    /// Between plus and equals sign.
    pub name: &'static str,
    /// How it is written: what may be left out is in brackets.
    pub form: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// A right one, behind a port.
    pub example: &'static str,
    parse: fn(&Options<'_>) -> Result<Box<dyn Layer>, String>,
}

/// All wrappers, in the order in which they are shown.
pub const WRAPS: &[Wrap] = &[watch::TRACE, watch::CAPTURE, impair::IMPAIR];

/// A wrapper that was named. Its text (`Display`) is what the parser takes back.
pub(crate) trait Layer: Display + Debug + Send + Sync {
    /// Makes it, for a port of this name.
    fn make(&self, port: &str) -> Result<Box<dyn Wrapper>, OpenError>;
}

/// What stands behind a wrapper's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a> {
    /// Up to the first comma.
    pub value: &'a str,
    /// Behind it.
    rest: &'a str,
}

impl<'a> Options<'a> {
    /// The options, as key and value.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        crate::kinds::pairs(self.rest)
    }
}

/// Takes the outermost wrapper off a port's text; `parse` is for the port within.
///
/// `None` where there is none.
pub(crate) fn parse(
    text: &str,
    parse: impl Fn(&str) -> Result<Box<dyn Target>, String>,
) -> Option<Result<Box<dyn Target>, String>> {
    let begin = |wrap: &'static Wrap| {
        let at = text.rfind(&format!("+{}=", wrap.name))?;
        Some((at, wrap))
    };
    let (at, wrap) = WRAPS.iter().filter_map(begin).max_by_key(|(at, _)| *at)?;
    let behind = &text[at + wrap.name.len() + 2..];
    let (value, rest) = behind.split_once(',').unwrap_or((behind, ""));
    let made = || {
        let inner = parse(&text[..at])?;
        let layer = (wrap.parse)(&Options { value, rest })?;
        Ok(Box::new(Layered { inner, layer }) as Box<dyn Target>)
    };
    Some(made())
}

/// The wrapper that somebody may have meant.
pub(crate) fn guess(text: &str) -> Option<String> {
    let (_, behind) = text.rsplit_once('+')?;
    let name = behind.split(['=', ',']).next()?;
    if behind.is_empty() {
        let example = WRAPS.first()?.example;
        return Some(format!("write what is to be put around it, as in {example}"));
    }
    let near = nearest(name, WRAPS.iter().map(|wrap| wrap.name));
    let wrap = WRAPS.iter().find(|wrap| wrap.name == near)?;
    (slips(name, near) <= 2).then(|| format!("did you mean +{near}=, as in {}?", wrap.example))
}

/// A port with something around it.
#[derive(Debug)]
struct Layered {
    inner: Box<dyn Target>,
    layer: Box<dyn Layer>,
}

impl Target for Layered {
    fn open(&self, opener: &mut Opener) -> Result<Fresh, OpenError> {
        // Before the port: what the wrapper cannot do is the cheaper thing to know.
        let wrapper = self.layer.make(&self.inner.to_string())?;
        let fresh = self.inner.open(opener)?;
        Ok(fresh.map(|port| Box::new(Wrapped::new(port, wrapper))))
    }

    fn is_simulated(&self) -> bool {
        self.inner.is_simulated()
    }

    fn wire(&self) -> Option<&str> {
        self.inner.wire()
    }

    fn headroom(&self) -> usize {
        self.inner.headroom()
    }
}

impl Display for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.inner, self.layer)
    }
}
