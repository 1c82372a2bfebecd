//! The drawings of `cargo xtask bench line` and `curves`.

use super::curves::Line;
use super::line::{Point, SPEEDS, line_rate};
use anyhow::{Context, Result};
use plotters::prelude::*;
use std::path::Path;

const FRAMES: std::ops::Range<f64> = 60.0..1600.0;

/// Draws packet rates over frame sizes, and the rates that fill lines; both axes are logarithmic.
pub fn draw(points: &[Point], to: &Path) -> Result<()> {
    // The error of the SVG back end cannot be kept: it borrows the drawing.
    try_draw(points, to)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("cannot draw {}", to.display()))
}

fn try_draw(points: &[Point], to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(to, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let rates = points
        .iter()
        .map(|point| point.rate.median)
        .filter(|rate| *rate > 0.0);
    let top = rates.clone().fold(line_rate(100, 64), f64::max) * 1.5;
    let bottom = rates.fold(line_rate(10, 1518), f64::min) / 1.5;
    let mut chart = ChartBuilder::on(&root)
        .caption("Forwarding rate by frame size", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(FRAMES.log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("bytes of a frame, with FCS")
        .y_desc("million packets a second")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .draw()?;
    for speed in SPEEDS {
        let line =
            [64_u32, 128, 256, 512, 1024, 1518].map(|frame| (f64::from(frame), line_rate(speed, frame)));
        chart.draw_series(LineSeries::new(line, BLACK.mix(0.35)))?;
        let (x, y) = line[5];
        let text = Text::new(format!("{speed}G"), (x * 1.01, y), ("sans-serif", 12));
        chart.draw_series([text])?;
    }
    let same = |a: &Point, b: &Point| (&a.work, a.cores) == (&b.work, b.cores);
    for (index, series) in points.chunk_by(same).enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let dots = series
            .iter()
            .map(|point| (f64::from(point.frame), point.rate.median));
        let dots: Vec<_> = dots.filter(|(_, rate)| *rate > 0.0).collect();
        chart.draw_series(dots.iter().map(|dot| Circle::new(*dot, 3, colour.filled())))?;
        let line = chart.draw_series(LineSeries::new(dots, colour.stroke_width(2)))?;
        let first = &series[0];
        line.label(format!("{}, cores: {}", first.work, first.cores))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Draws cycles a packet over what grows; both axes are logarithmic.
pub fn curve(title: &str, x: &str, lines: &[Line], to: &Path) -> Result<()> {
    try_curve(title, x, lines, to)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("cannot draw {}", to.display()))
}

fn try_curve(title: &str, x: &str, lines: &[Line], to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let dots = |line: &Line| -> Vec<(f64, f64)> {
        let dot = |point: &super::curves::Point| Some((point.x as f64, point.cycles?.median));
        line.points.iter().filter_map(dot).collect()
    };
    let all: Vec<(f64, f64)> = lines.iter().flat_map(dots).collect();
    let range = |pick: fn(&(f64, f64)) -> f64, room: f64| {
        let values = all.iter().map(pick);
        let (low, high) = (
            values.clone().fold(f64::MAX, f64::min),
            values.fold(1e-3, f64::max),
        );
        low.min(high) / room..high * room
    };
    // The legend goes where the curves are lower.
    let highest = |at: Option<f64>| {
        let there = all.iter().filter(|dot| Some(dot.0) == at);
        there.map(|dot| dot.1).fold(0.0, f64::max)
    };
    let first = all.iter().map(|dot| dot.0).reduce(f64::min);
    let last = all.iter().map(|dot| dot.0).reduce(f64::max);
    let legend = match highest(first) > highest(last) {
        true => SeriesLabelPosition::UpperRight,
        false => SeriesLabelPosition::UpperLeft,
    };
    let root = SVGBackend::new(to, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            range(|dot| dot.0, 1.1).log_scale(),
            range(|dot| dot.1, 1.8).log_scale(),
        )?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_desc(x)
        .y_desc("cycles a packet")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let (colour, dots) = (Palette99::pick(index).to_rgba(), dots(line));
        chart.draw_series(dots.iter().map(|dot| Circle::new(*dot, 3, colour.filled())))?;
        chart
            .draw_series(LineSeries::new(dots, colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_every_series_and_leaves_out_what_was_not_measured() {
        use crate::bench::curves::Point;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("curve.svg");
        let point = |x, cycles: Option<f64>| Point {
            x,
            cycles: cycles.map(|cycles| summary(&[cycles])),
        };
        let line = |name: &str, points: Vec<Point>| Line {
            name: name.to_owned(),
            points,
        };
        let lines = [
            line("first", vec![point(1, Some(30.0)), point(64, Some(2.0))]),
            line("second", vec![point(1, None), point(64, Some(3.0))]),
        ];
        curve("a title", "what grows", &lines, &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for wanted in ["a title", "what grows", "first", "second", "</svg>"] {
            assert!(text.contains(wanted), "{wanted}");
        }
        assert_eq!(text.matches("<circle").count(), 3);
    }
    use crate::bench::stats::summary;

    #[test]
    fn a_drawing_has_every_series_and_every_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("line.svg");
        let point = |work: &str, frame| Point {
            work: work.to_owned(),
            frame,
            cores: 1,
            rate: summary(&[100.0]),
            cycles: 26.0,
            windows: 1,
            disturbed: false,
        };
        let points = [point("a", 64), point("a", 1518), point("b", 64), point("b", 1518)];
        draw(&points, &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for wanted in ["a, cores: 1", "b, cores: 1", "10G", "100G", "</svg>"] {
            assert!(text.contains(wanted), "{wanted}");
        }
    }
}
