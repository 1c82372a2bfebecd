//! The pacer on a clock that somebody else moves: as unevenly as a poll loop does.

use barline_traffic::{Pacer, Rate, Shape, mixed};

/// Nanoseconds between two looks: mostly some 50, now and then a few microseconds.
fn step(number: u64) -> u64 {
    match mixed(9, number) {
        rare if rare % 1000 == 0 => 3000,
        any => 20 + any % 60,
    }
}

/// The longest time that a loop does not look, in nanoseconds.
const LONGEST: u64 = 3000;
/// How far the mean rate may be off, as a share of it.
const OFF: f64 = 1e-4;

/// When the last of `count` packets went, by a loop that asks for 32 at the most.
fn last(pacer: &mut Pacer, count: usize, len: usize) -> u64 {
    let (mut gone, mut now, mut looks) = (0, 0, 0);
    loop {
        gone += pacer.take(now, 32.min(count - gone), len);
        if gone == count {
            return now;
        }
        now += step(looks);
        looks += 1;
    }
}

#[test]
fn the_mean_rate_is_right_from_1_to_100_per_cent_of_10_gigabit() {
    for (shape, share) in [Shape::Even, Shape::Bursts(32)]
        .into_iter()
        .flat_map(|shape| (1..=100).map(move |share| (shape, f64::from(share))))
    {
        for size in [64usize, 1518] {
            let cost = Rate::Percent(share).cost(10_000, size as f64).unwrap();
            let gap = (size as f64 + 20.0) * 8.0 / 10.0 / (share / 100.0);
            // The last one goes up to a look too late, which is no error of the rate: so long that this is a part of `OFF`.
            let long = LONGEST as f64 / OFF * 1.2;
            let count = ((long / gap) as usize).max(3000).next_multiple_of(32) + 1;
            let mut pacer = Pacer::new(shape, cost, 0);
            let mean = last(&mut pacer, count, size - 4) as f64 / (count - 1) as f64;
            assert!(
                (mean / gap - 1.0).abs() < OFF,
                "{shape:?} {share} % of {size}: {mean} ns for {gap}"
            );
            if shape == Shape::Even {
                let due = pacer.due() as f64 / count as f64;
                assert!((due / gap - 1.0).abs() < 1e-6, "{due} {gap}");
            }
            assert_eq!(pacer.slipped(), 0);
            // A look every 80 ns at the most, and one in a thousand of 3,000: what is late is seen.
            let late = pacer.late().summary();
            assert!(late.p50 <= 80 && late.p99 <= LONGEST && late.max <= LONGEST + 1);
        }
    }
}

/// Mean of gaps in the test of their distribution, in nanoseconds.
const GAP: f64 = 1000.0;

/// So many gaps of a pacer that is asked as soon as one is due.
fn gaps(shape: Shape, n: usize) -> Vec<f64> {
    let cost = Rate::Packets(1e9 / GAP).cost(0, 64.0).unwrap();
    let (mut pacer, mut last) = (Pacer::new(shape, cost, 0), 0);
    let mut gap = || {
        assert_eq!(pacer.take(pacer.due() + 1, 1, 60), 1);
        let gap = pacer.due() - last;
        last = pacer.due();
        gap as f64
    };
    (0..n).map(|_| gap()).collect()
}

/// Whether gaps are drawn from an exponential distribution, by the test of Kolmogorov and Smirnov at the level of 1 %
/// (1.63 / sqrt(n), and what whole nanoseconds add), and from one draw to the next independently.
fn are_exponential(gaps: &[f64]) -> bool {
    let n = gaps.len() as f64;
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let distance = sorted.iter().enumerate().map(|(at, value)| {
        let right = 1.0 - (-value / GAP).exp();
        (right - at as f64 / n)
            .abs()
            .max((right - (at + 1) as f64 / n).abs())
    });
    let pairs: f64 = gaps.windows(2).map(|two| (two[0] - GAP) * (two[1] - GAP)).sum();
    let correlation = pairs / (GAP * GAP * n);
    distance.fold(0.0, f64::max) < 1.63 / n.sqrt() + 0.001 && correlation.abs() < 2.58 / n.sqrt()
}

#[test]
fn poisson_gaps_are_exponential() {
    const N: usize = 20_000;
    for seed in 1..=5 {
        let drawn = gaps(Shape::Poisson(seed), N);
        assert!(are_exponential(&drawn), "seed {seed}");
        let mean = drawn.iter().sum::<f64>() / N as f64;
        assert!((mean / GAP - 1.0).abs() < 0.03, "seed {seed}: {mean}");
        // The test says no where it should: to the same gaps in order, to some longer or shorter, and to a cut tail.
        let mut sorted = drawn.clone();
        sorted.sort_by(f64::total_cmp);
        let times = |by: f64| drawn.iter().map(|gap| gap * by).collect::<Vec<_>>();
        let cut: Vec<f64> = drawn.iter().map(|gap| gap.min(4.0 * GAP)).collect();
        for wrong in [sorted, times(1.1), times(0.9), cut] {
            assert!(!are_exponential(&wrong), "seed {seed}");
        }
    }
    // And to other shapes of the same mean.
    assert!(!are_exponential(&gaps(Shape::Even, N)) && !are_exponential(&gaps(Shape::Bursts(4), N)));
    let uniform: Vec<f64> = (0..N as u64).map(|at| (mixed(3, at) % 2000) as f64).collect();
    assert!(!are_exponential(&uniform));
}

#[test]
fn bursts_come_at_once_and_what_is_too_late_is_given_up() {
    let cost = Rate::Packets(1e6).cost(0, 64.0).unwrap();
    let mut pacer = Pacer::new(Shape::Bursts(4), cost, 0);
    assert_eq!(pacer.take(0, 32, 60), 4);
    assert_eq!(pacer.take(3999, 32, 60), 0);
    assert_eq!(pacer.take(4000, 3, 60), 3);
    assert_eq!(pacer.take(4000, 3, 60), 1);
    let mut pacer = Pacer::new(Shape::Even, cost, 0);
    assert_eq!(pacer.take(50_000_000, 64, 60), 1);
    assert_eq!(pacer.slipped(), 50_000_000);
}
