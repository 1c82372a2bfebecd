use crate::Failure;
use barline::pool::MAX_BURST;
use std::fmt::Display;
use std::fs;
use std::path::Path;

/// Reads a configuration file, whose contents `parse` understands.
///
/// # Errors
/// What is wrong with the file, by its name.
pub fn read_file<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, Failure>) -> Result<T, Failure> {
    let wrong = |error: &dyn Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    parse(&text).map_err(|error| wrong(&error))
}

/// A value of `--burst`: 32 packets unless told otherwise.
///
/// # Errors
/// None, or more than a batch holds.
pub fn burst(asked: Option<usize>) -> Result<usize, Failure> {
    let burst = asked.unwrap_or(32);
    if (1..=MAX_BURST).contains(&burst) {
        return Ok(burst);
    }
    Err(Failure::usage(format!(
        "--burst {burst}: 1 to {MAX_BURST} packets are possible"
    )))
}

/// The options of a command line over those of a file: of `either` one of the two, of `lists` the one that is not empty, and some
/// that only one of the two can name. Every field must be in one of them, or it does not compile.
#[macro_export]
macro_rules! over {
    ($given:ident, $file:ident; either: $($field:ident),*; lists: $($list:ident),*; given: $($own:ident),*; file: $($other:ident),*) => {
        Self {
            $($field: $given.$field.or($file.$field),)*
            $($list: if $given.$list.is_empty() { $file.$list } else { $given.$list },)*
            $($own: $given.$own,)*
            $($other: $file.$other,)*
        }
    };
}
