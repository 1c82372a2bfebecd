//! The few statistics that a comparison takes.

/// The value below which a share of the sorted values lies, between two of them by proportion.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Median and quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Median.
    pub median: f64,
    /// First and third quartile.
    pub quartiles: [f64; 2],
}

/// Median and quartiles of some values.
pub fn summary(values: &[f64]) -> Summary {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Summary {
        median: quantile(&sorted, 0.5),
        quartiles: [quantile(&sorted, 0.25), quantile(&sorted, 0.75)],
    }
}

/// The chance that two samples from one distribution differ at least so much in rank: the Mann-Whitney U test, two
/// sided, by the normal approximation with corrections for ties and for continuity. 1 when a sample is empty.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let mut all: Vec<(f64, bool)> = a.iter().map(|value| (*value, true)).collect();
    all.extend(b.iter().map(|value| (*value, false)));
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|x, y| x.0 == y.0) {
        let count = equal.len() as f64;
        let rank = before + (count + 1.0) / 2.0;
        rank_sum += rank * equal.iter().filter(|(_, first)| *first).count() as f64;
        ties += count.powi(3) - count;
        before += count;
    }
    let u = rank_sum - n * (n + 1.0) / 2.0;
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - n * m / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    erfc(z / std::f64::consts::SQRT_2).min(1.0)
}

/// The complementary error function for `x >= 0`, as a Chebyshev fit with a relative error below 1.2e-7 everywhere.
fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let fit = FIT.iter().rev().fold(0.0, |sum, factor| sum * t + factor);
    t * (fit - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn quantiles_lie_between_values() {
        near(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        near(quantile(&[1.0, 2.0, 3.0, 4.0], 0.25), 1.75);
        near(quantile(&[7.0], 0.9), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
        let of = summary(&[3.0, 1.0, 2.0]);
        assert_eq!((of.median, of.quartiles), (2.0, [1.5, 2.5]));
    }

    /// Expected values: the normal approximation with continuity correction, as statistics packages compute it.
    #[test]
    fn rank_test_against_known_values() {
        let (men, women) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        near(mann_whitney(&men, &women), 0.111_346_886);
        near(mann_whitney(&women, &men), 0.111_346_886);
        // Ties: ranks 1.5 1.5 3 | 4.5 4.5 6, U = 0, variance 5.25 - 3*3*12/(12*30).
        let p = mann_whitney(&[1.0, 1.0, 2.0], &[3.0, 3.0, 4.0]);
        near(p, erfc(4.0 / (5.25_f64 - 0.3).sqrt() / std::f64::consts::SQRT_2));
        near(p, 0.072_198_198);
    }

    #[test]
    fn equal_samples_do_not_differ_and_separate_ones_do() {
        near(mann_whitney(&[1.0; 20], &[1.0; 20]), 1.0);
        near(mann_whitney(&[], &[1.0]), 1.0);
        let low: Vec<f64> = (0..20).map(f64::from).collect();
        let high: Vec<f64> = (100..120).map(f64::from).collect();
        assert!(mann_whitney(&low, &high) < 1e-6);
        assert!(mann_whitney(&low, &low) > 0.99);
    }

    #[test]
    fn error_function_at_known_points() {
        near(erfc(0.0), 1.0);
        near(erfc(1.0), 0.157_299_207);
        near(erfc(2.0), 0.004_677_735);
    }
}
