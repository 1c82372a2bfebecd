//! What is asked for of a test, and whether it can be.

use crate::Options;
use crate::settings::wrong;
use barline_app::Failure;
use barline_traffic::{RFC2544, RFC2889, RFC8219, Rate, Sizes};

/// Whether nothing is said of a test where none is asked for.
pub(super) fn needless(options: &Options) -> Result<(), Failure> {
    let said = [
        ("sizes", options.sizes.is_some()),
        ("trial", options.trial.is_some()),
        ("resolution", options.resolution.is_some()),
        ("search", options.search.is_some()),
        ("loss", options.loss.is_some()),
        ("report", options.report.is_some()),
    ];
    match said.into_iter().find(|(_, said)| *said) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::usage(format!(
            "--{name} is of a test, and none is asked for: add --rfc2544 all, or leave it out"
        ))),
    }
}

/// Whether nothing is asked for that a test cannot do; what it would do without a word otherwise is something else.
pub(super) fn fits(options: &Options) -> Result<(), Failure> {
    let rate = options.rate.as_deref().map(str::parse::<Rate>).transpose();
    let wrong = match rate.map_err(wrong)? {
        _ if !options.streams.is_empty() => {
            "makes a stream of each size: leave [[streams]] out, and describe the frame with --frame and --vary"
        }
        _ if options.replay.is_some() => "measures with marks, which a capture has not: leave --replay out",
        _ if options.unsigned == Some(true) => "measures with marks: leave --unsigned out",
        None | Some(Rate::Max | Rate::Packets(_)) => return Ok(()),
        Some(_) => "finds the rate: leave --rate out, or name the greatest to be tried, as in --rate 5Mpps",
    };
    Err(Failure::usage(format!("--rfc2544 {wrong}")))
}

/// The sizes of a standard, or a list.
pub(super) fn sizes(text: &str) -> Result<Vec<usize>, Failure> {
    let standard = match text {
        "rfc2544" => Some(RFC2544),
        "rfc2889" => Some(RFC2889),
        "rfc8219" => Some(RFC8219),
        _ => None,
    };
    if let Some(sizes) = standard {
        return Ok(sizes.to_vec());
    }
    let size = |text: &str| match text.parse::<Sizes>() {
        Ok(Sizes::Fixed(size)) => Ok(size),
        Ok(_) => Err(Failure::usage(format!(
            "--sizes {text}: write rfc2544, rfc2889, rfc8219, or 64,512,1518"
        ))),
        Err(error) => Err(wrong(error)),
    };
    text.split(',').map(size).collect()
}
