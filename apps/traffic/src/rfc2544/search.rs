//! Searches for the greatest load without loss, or with little.

use super::{Load, Outcome};

/// How throughput is searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// Halving, each trial in full length.
    #[default]
    Binary,
    /// Short trials first, for the non-drop and the partial-drop rate at once.
    Mlr,
}

/// A rate that is looked for: the greatest with no more than this share of loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The share, 0 to 1.
    pub loss: f64,
}

impl Goal {
    fn is_met(self, outcome: &Outcome) -> bool {
        !outcome.behind && outcome.loss() <= self.loss
    }
}

/// The greatest rate up to `line` at which the goal is met, to `width` (a share of it), in trials of `seconds`; and what came
/// of its trial. None where it is met at no rate.
///
/// # Errors
/// A trial could not be carried out.
pub fn binary<E>(
    line: f64,
    goal: Goal,
    width: f64,
    seconds: f64,
    mut trial: impl FnMut(Load) -> Result<Outcome, E>,
) -> Result<Option<(f64, Outcome)>, E> {
    let (mut low, mut high, mut best) = (0.0, line, None);
    let mut pps = line;
    while high > 0.0 && high - low > width * high.min(line) && high > line * 1e-4
        || best.is_none() && pps == line
    {
        let outcome = trial(Load::Rate { pps, seconds })?;
        if goal.is_met(&outcome) {
            (low, best) = (pps, Some((pps, outcome)));
            if pps >= line {
                break;
            }
        } else {
            high = pps;
        }
        pps = (low + high) / 2.0;
    }
    Ok(best)
}

/// Between which rates the wanted one is, for one goal.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: f64,
    high: f64,
    best: Option<(f64, Outcome)>,
}

/// Like [`binary`] for several goals, in the manner of MLRsearch (an Internet draft of FD.io): the first trial is at the line's
/// rate, and what comes of it is the first guess; then phases of trials that get longer and bounds that get narrower. Bounds
/// of one phase are only guesses in the next. The answers are in the order of the goals.
///
/// # Errors
/// A trial could not be carried out.
pub fn mlr<E>(
    line: f64,
    goals: &[Goal],
    width: f64,
    seconds: f64,
    mut trial: impl FnMut(Load) -> Result<Outcome, E>,
) -> Result<Vec<Option<(f64, Outcome)>>, E> {
    let first = trial(Load::Rate {
        pps: line,
        seconds: seconds / 8.0,
    })?;
    let guess = line * (1.0 - first.loss());
    let bound = Bounds {
        low: (guess * (1.0 - 4.0 * width)).max(line * 1e-4),
        high: (guess * (1.0 + 4.0 * width)).min(line),
        best: None,
    };
    let mut all = vec![bound; goals.len()];
    for (share, wider) in [(1.0 / 8.0, 4.0), (1.0 / 3.0, 2.0), (1.0, 1.0)] {
        for (bounds, goal) in all.iter_mut().zip(goals) {
            narrow(line, *goal, width * wider, bounds, |pps| {
                trial(Load::Rate {
                    pps,
                    seconds: seconds * share,
                })
            })?;
        }
    }
    Ok(all.into_iter().map(|bounds| bounds.best).collect())
}

/// Makes the bounds true at this length of trials, then narrows them.
fn narrow<E>(
    line: f64,
    goal: Goal,
    width: f64,
    bounds: &mut Bounds,
    mut trial: impl FnMut(f64) -> Result<Outcome, E>,
) -> Result<(), E> {
    let least = line * 1e-4;
    bounds.best = None;
    let mut step = width * bounds.high;
    // Down, by steps that double, until it is met.
    loop {
        let outcome = trial(bounds.low)?;
        if goal.is_met(&outcome) {
            bounds.best = Some((bounds.low, outcome));
            break;
        }
        bounds.high = bounds.low;
        if bounds.low <= least {
            return Ok(());
        }
        bounds.low = (bounds.low - step).max(least);
        step *= 2.0;
    }
    // Up, likewise, until it is not.
    let mut step = width * bounds.high;
    while bounds.high > bounds.low {
        let outcome = trial(bounds.high)?;
        if !goal.is_met(&outcome) {
            break;
        }
        (bounds.low, bounds.best) = (bounds.high, Some((bounds.high, outcome)));
        if bounds.high >= line {
            return Ok(());
        }
        bounds.high = (bounds.high + step).min(line);
        step *= 2.0;
    }
    while bounds.high - bounds.low > width * bounds.high {
        let middle = (bounds.low + bounds.high) / 2.0;
        let outcome = trial(middle)?;
        if goal.is_met(&outcome) {
            (bounds.low, bounds.best) = (middle, Some((middle, outcome)));
        } else {
            bounds.high = middle;
        }
    }
    Ok(())
}

/// The longest burst up to `most` frames without loss, exactly. 0 where one frame is lost.
///
/// # Errors
/// A trial could not be carried out.
pub fn longest_burst<E>(most: u64, mut trial: impl FnMut(Load) -> Result<Outcome, E>) -> Result<u64, E> {
    let (mut low, mut high) = (0, most + 1);
    let mut length = most;
    while high - low > 1 {
        match trial(Load::Burst(length))?.lost() {
            0 => low = length,
            _ => high = length,
        }
        length = low + (high - low) / 2;
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A device that passes `ceiling` packets a second.
    fn device(ceiling: f64) -> impl FnMut(Load) -> Result<Outcome, Infallible> {
        move |load| {
            let Load::Rate { pps, seconds } = load else {
                unreachable!()
            };
            let sent = (pps * seconds) as u64;
            let received = sent.min((ceiling * seconds) as u64 + 1);
            Ok(Outcome {
                sent,
                received,
                seconds,
                ..Outcome::default()
            })
        }
    }

    proptest! {
        #[test]
        fn both_searches_find_the_ceiling(share in 0.002f64..1.2) {
            let line = 14_880_952.0;
            let ceiling = line * share;
            let right = ceiling.min(line);
            let none = Goal { loss: 0.0 };
            let (found, _) = binary(line, none, 0.005, 1.0, device(ceiling)).unwrap().unwrap();
            prop_assert!(found <= right * 1.0001 && found >= right * 0.9949, "{} {}", found, right);
            let mut trials = 0;
            let counted = |load| { trials += 1; device(ceiling)(load) };
            let found = mlr(line, &[none, Goal { loss: 0.01 }], 0.005, 1.0, counted).unwrap();
            let rates: Vec<f64> = found.iter().map(|one| one.unwrap().0).collect();
            prop_assert!(rates[0] <= right * 1.0001 && rates[0] >= right * 0.9949, "{} {}", rates[0], right);
            let partial = (ceiling / 0.99).min(line);
            prop_assert!(rates[1] <= partial * 1.0001 && rates[1] >= partial * 0.9949, "{} {}", rates[1], partial);
            prop_assert!(trials < 60, "{}", trials);
        }

        #[test]
        fn the_longest_burst_is_exact(buffer in 0u64..100_000, most in 1u64..100_000) {
            let trial = |load| {
                let Load::Burst(sent) = load else { unreachable!() };
                Ok::<_, Infallible>(Outcome { sent, received: sent.min(buffer), ..Outcome::default() })
            };
            prop_assert_eq!(longest_burst(most, trial).unwrap(), buffer.min(most));
        }
    }

    #[test]
    fn a_device_that_passes_nothing_has_no_throughput() {
        let trial = |load| match load {
            Load::Rate { .. } => Ok::<_, Infallible>(Outcome {
                sent: 100,
                ..Outcome::default()
            }),
            Load::Burst(_) => unreachable!(),
        };
        assert_eq!(binary(1e6, Goal { loss: 0.0 }, 0.005, 1.0, trial).unwrap(), None);
        assert_eq!(
            mlr(1e6, &[Goal { loss: 0.0 }], 0.005, 1.0, trial).unwrap(),
            [None]
        );
    }
}
