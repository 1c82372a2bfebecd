//! `+trace=FRAMES` and `+capture=FILE`: who looks at a port's frames.

use super::{Layer, Options, Wrap};
use crate::kinds::{no_option, number};
use crate::{Fault, OpenError};
use barline_wrap::{Filter, Select, Watch, Wrapper};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const TRACE: Wrap = Wrap {
    name: "trace",
    form: "PORT+trace=FRAMES[,filter=FILE,snap=BYTES]",
    about: "shows the next frames, decoded, on the standard error",
    example: "sim:82576+trace=10",
    parse: trace,
};

pub(super) const CAPTURE: Wrap = Wrap {
    name: "capture",
    form: "PORT+capture=FILE[,filter=FILE,limit=FRAMES,snap=BYTES]",
    about: "writes frames to a pcapng file; filter: what `tcpdump -y EN10MB -ddd 'EXPRESSION'` prints",
    example: "sim:82576+capture=/tmp/port.pcapng",
    parse: capture,
};

/// Most bytes of a frame.
const MOST: usize = 65_535;

/// What both have in common.
#[derive(Debug)]
struct Which {
    filter: Option<PathBuf>,
    limit: Option<u64>,
    snap: usize,
}

impl Which {
    fn parse(options: &Options<'_>, known: &[&str]) -> Result<Self, String> {
        let mut which = Self {
            filter: None,
            limit: None,
            snap: MOST,
        };
        for (key, value) in options.pairs() {
            match key {
                _ if !known.contains(&key) => return Err(no_option(key, known)),
                "filter" => which.filter = Some(value.into()),
                "limit" => which.limit = Some(number(key, value, 1, u64::MAX)?),
                _ => which.snap = number(key, value, 14, MOST)?,
            }
        }
        Ok(which)
    }

    fn select(&self, port: &str) -> Result<Select, OpenError> {
        let filter = self.filter.as_deref().map(read_filter).transpose();
        Ok(Select {
            filter: filter.map_err(|why| refused(port, Fault::Usage, why))?,
            limit: self.limit,
            snap: self.snap,
        })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(filter) = &self.filter {
            write!(f, ",filter={}", filter.display())?;
        }
        if let Some(limit) = self.limit {
            write!(f, ",limit={limit}")?;
        }
        if self.snap < MOST {
            write!(f, ",snap={}", self.snap)?;
        }
        Ok(())
    }
}

fn read_filter(path: &Path) -> Result<Filter, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse()
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn refused(port: &str, fault: Fault, cause: String) -> OpenError {
    OpenError::Refused {
        port: port.to_owned(),
        fault,
        cause: cause.into(),
    }
}

/// `+trace=`.
#[derive(Debug)]
struct Trace {
    frames: u64,
    which: Which,
}

fn trace(options: &Options<'_>) -> Result<Box<dyn Layer>, String> {
    let frames = number("trace", options.value, 1, u64::MAX)?;
    let which = Which::parse(options, &["filter", "snap"])?;
    Ok(Box::new(Trace { frames, which }))
}

impl Layer for Trace {
    fn make(&self, port: &str) -> Result<Box<dyn Wrapper>, OpenError> {
        let select = Select {
            limit: Some(self.frames),
            ..self.which.select(port)?
        };
        Ok(Box::new(Watch::trace(port, io::stderr(), select)))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace={}{}", self.frames, self.which)
    }
}

/// `+capture=`.
#[derive(Debug)]
struct Capture {
    file: PathBuf,
    which: Which,
}

fn capture(options: &Options<'_>) -> Result<Box<dyn Layer>, String> {
    if options.value.is_empty() {
        return Err(format!("name a file, as in {}", CAPTURE.example));
    }
    let which = Which::parse(options, &["filter", "limit", "snap"])?;
    let file = options.value.into();
    Ok(Box::new(Capture { file, which }))
}

impl Layer for Capture {
    fn make(&self, port: &str) -> Result<Box<dyn Wrapper>, OpenError> {
        let select = self.which.select(port)?;
        let name = self.file.display().to_string();
        let watch = File::create(&self.file).and_then(|file| Watch::capture(&name, port, file, select));
        let cannot = |error| {
            let why = format!("cannot write {name}: {error}; name a file that this user may write");
            refused(port, Fault::Usage, why)
        };
        Ok(Box::new(watch.map_err(cannot)?))
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capture={}{}", self.file.display(), self.which)
    }
}
