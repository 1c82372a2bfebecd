//! `+impair=`: a bad line behind a port.

use super::{Layer, Options, Wrap};
use crate::OpenError;
use crate::kinds::{no_option, pairs};
use barline_wrap::{Impair, Impairment, Wrapper};
use std::fmt;

pub(super) const IMPAIR: Wrap = Wrap {
    name: "impair",
    form: "PORT+impair=loss=1%[,duplicate=1%,reorder=1%,corrupt=1%,delay=50us,rate=3.7Mpps,buffer=FRAMES,seed=N]",
    about: "loses, doubles, reorders, damages, delays or slows down what the port sends, by a seed",
    example: "sim:82576+impair=loss=1%",
    parse,
};

/// What was given, and what it means.
#[derive(Debug)]
struct Line {
    text: Vec<String>,
    how: Impairment,
}

fn parse(options: &Options<'_>) -> Result<Box<dyn Layer>, String> {
    let mut line = Line {
        text: Vec::new(),
        how: Impairment::default(),
    };
    for (key, value) in pairs(options.value).chain(options.pairs()) {
        if !Impairment::KEYS.contains(&key) {
            return Err(no_option(key, Impairment::KEYS));
        }
        line.how.set(key, value)?;
        line.text.push(format!("{key}={value}"));
    }
    match line.text.is_empty() {
        true => Err(format!("say what is to go wrong, as in {}", IMPAIR.example)),
        false => Ok(Box::new(line)),
    }
}

impl Layer for Line {
    fn make(&self, _port: &str) -> Result<Box<dyn Wrapper>, OpenError> {
        Ok(Box::new(Impair::new(self.how)))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "impair={}", self.text.join(","))
    }
}
