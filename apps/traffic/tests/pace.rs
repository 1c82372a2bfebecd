//! The pacer on a clock that somebody else moves: as unevenly as a poll loop does.

use barline_traffic::{Pacer, Rate, Shape, mixed};

/// Nanoseconds between two looks: mostly some 50, now and then a few microseconds.
fn step(number: u64) -> u64 {
    match mixed(9, number) {
        rare if rare % 1000 == 0 => 3000,
        any => 20 + any % 60,
    }
}

/// When each of `count` packets went, by a loop that asks for 32 at the most.
fn departures(mut pacer: Pacer, count: usize, len: usize) -> (Vec<u64>, Pacer) {
    let (mut times, mut now, mut looks) = (Vec::new(), 0, 0);
    while times.len() < count {
        let due = pacer.take(now, 32, len);
        times.extend(std::iter::repeat_n(now, due));
        now += step(looks);
        looks += 1;
    }
    (times, pacer)
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
            // Long enough that the step of the clock at the end is below the error looked for.
            let count = ((100_000_000.0 / gap) as usize).clamp(50_000, 300_000);
            let count = count.next_multiple_of(32) + 1;
            let (times, pacer) = departures(Pacer::new(shape, cost, 0), count, size - 4);
            let mean = *times.last().unwrap() as f64 / (count - 1) as f64;
            let error = (mean / gap - 1.0).abs();
            // What the last look came too late by is no error of the rate.
            let last = (3000.0 / *times.last().unwrap() as f64).max(0.0);
            assert!(
                error < 1e-4 + last,
                "{shape:?} {share} % of {size}: {mean} ns for {gap}"
            );
            let due = pacer.due() as f64 / times.len() as f64;
            assert!(
                (due / gap - 1.0).abs() < if shape == Shape::Even { 1e-6 } else { 1e-3 },
                "{due} {gap}"
            );
            assert_eq!(pacer.slipped(), 0);
            // A look every 80 ns at the most, and one in a thousand of 3,000: what is late is seen.
            assert!(pacer.late().summary().p50 <= 80 && pacer.late().max() <= 3001);
        }
    }
}

/// Kolmogorov and Smirnov: the distance of the gaps' distribution from the exponential one, for five seeds.
#[test]
fn poisson_gaps_are_exponential() {
    let gap = 1000.0;
    for seed in 1..=5 {
        let cost = Rate::Packets(1e6).cost(0, 64.0).unwrap();
        let mut pacer = Pacer::new(Shape::Poisson(seed), cost, 0);
        let mut gaps = Vec::new();
        let mut last = 0;
        for _ in 0..20_000 {
            assert_eq!(pacer.take(pacer.due() + 1, 1, 60), 1);
            gaps.push((pacer.due() - last) as f64);
            last = pacer.due();
        }
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps.iter().enumerate().map(|(at, value)| {
            let right = 1.0 - (-value / gap).exp();
            (right - at as f64 / n)
                .abs()
                .max((right - (at + 1) as f64 / n).abs())
        });
        let distance = distance.fold(0.0, f64::max);
        // At the level of 1 % (1.63 / sqrt(n)), and what whole nanoseconds add.
        assert!(distance < 1.63 / n.sqrt() + 0.001, "seed {seed}: {distance}");
        // Even gaps would be caught.
        assert!((1.0f64 - (-1.0f64).exp()) > 1.63 / n.sqrt());
        let mean = last as f64 / n;
        assert!((mean / gap - 1.0).abs() < 0.03, "seed {seed}: {mean}");
    }
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
