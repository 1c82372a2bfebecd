use crate::Failure;
use barline::mem::{PageSize, Source};
use std::str::FromStr;
use std::time::Duration;

/// Where packets and rings live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Huge {
    /// Packets.
    pub pool: Source,
    /// Descriptor rings, which are too small for a 1 GiB page.
    pub rings: Source,
}

impl FromStr for Huge {
    type Err = Failure;

    /// A value of `--huge`.
    fn from_str(kind: &str) -> Result<Self, Failure> {
        let (pool, rings) = match kind {
            "auto" => (Source::Auto, Source::Auto),
            "2m" => (Source::MemFd(PageSize::Huge2M), Source::MemFd(PageSize::Huge2M)),
            "1g" => (Source::MemFd(PageSize::Huge1G), Source::Auto),
            "private" => (Source::Private, Source::Private),
            "none" => (Source::MemFd(PageSize::Base4K), Source::MemFd(PageSize::Base4K)),
            _ => {
                return Err(Failure::usage(format!(
                    "--huge {kind}: write 2m, 1g, private, auto or none"
                )));
            }
        };
        Ok(Self { pool, rings })
    }
}

/// Some 30 years: a clock must reach the end of a run.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// A value of `--seconds`.
///
/// # Errors
/// No time that a run can take.
pub fn duration(seconds: f64) -> Result<Duration, Failure> {
    let duration = Duration::try_from_secs_f64(seconds).ok();
    duration
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| {
            let most = LONGEST.as_secs();
            Failure::usage(format!(
                "--seconds {seconds}: a time above 0 and up to {most} is needed; leave it out to run without end"
            ))
        })
}
