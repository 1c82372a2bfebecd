//! Results as one page of HTML with everything in it.

use super::report::{Report, SizeReport};
use plotters::prelude::*;
use std::fmt::Write;

const SIZE: (u32, u32) = (800, 360);
type Points = Vec<(f64, f64)>;

/// The page.
pub fn page(report: &Report) -> String {
    let mut plots = String::new();
    let series = |of: fn(&SizeReport) -> Option<f64>| -> Points {
        let points = report
            .sizes
            .iter()
            .filter_map(|size| Some((size.size as f64, of(size)?)));
        points.collect()
    };
    let rates = [
        ("line", series(|of| Some(of.line_pps / 1e6))),
        ("NDR", series(|of| of.ndr.map(|ndr| ndr.pps / 1e6))),
        ("PDR", series(|of| of.pdr.map(|pdr| pdr.pps / 1e6))),
    ];
    let latency = |of: fn(&crate::Summary) -> u64| -> Points {
        let points = report
            .sizes
            .iter()
            .filter_map(|size| Some((size.size as f64, of(&size.latency.first()?.ns) as f64 / 1e3)));
        points.collect()
    };
    let latencies = [
        ("p50", latency(|ns| ns.p50)),
        ("p99", latency(|ns| ns.p99)),
        ("max", latency(|ns| ns.max)),
    ];
    let names: Vec<String> = report
        .sizes
        .iter()
        .map(|of| format!("{} bytes", of.size))
        .collect();
    let losses: Vec<(&str, Points)> = names
        .iter()
        .zip(&report.sizes)
        .map(|(name, of)| {
            (
                name.as_str(),
                of.frame_loss
                    .iter()
                    .map(|one| (f64::from(one.percent), one.loss * 100.0))
                    .collect(),
            )
        })
        .collect();
    for (title, x, y, lines) in [
        (
            "Throughput",
            "frame size, bytes with FCS",
            "Mpackets/s",
            &rates[..],
        ),
        (
            "Latency at the throughput",
            "frame size, bytes with FCS",
            "microseconds",
            &latencies[..],
        ),
        ("Frame loss", "offered, % of the line", "lost, %", &losses[..]),
    ] {
        // A plot that cannot be drawn is left out: the numbers are in the table.
        if let Some(svg) = plot(title, x, y, lines) {
            plots += &svg;
        }
    }
    let title = escaped(&report.title);
    let table = escaped(&report.table());
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>RFC 2544: {title}</title>\
         <style>body{{font-family:sans-serif;margin:2em}}svg{{max-width:100%;height:auto}}pre{{overflow-x:auto}}</style></head><body>\n\
         <h1>RFC 2544: {title}</h1>\n<p>Trials of {} s.</p>\n<pre>{table}</pre>\n{plots}</body></html>\n",
        report.seconds
    );
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn plot(title: &str, x: &str, y: &str, lines: &[(&str, Points)]) -> Option<String> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let (right, top) = all().fold((0.0f64, 0.0f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    all().next()?;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).ok()?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..right * 1.05, 0.0..(top * 1.1).max(1e-6))
            .ok()?;
        chart.configure_mesh().x_desc(x).y_desc(y).draw().ok()?;
        for (index, (name, points)) in lines
            .iter()
            .enumerate()
            .filter(|(_, (_, points))| !points.is_empty())
        {
            let color = Palette99::pick(index).to_rgba();
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let drawn = chart.draw_series(line).ok()?;
            drawn
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()
            .ok()?;
        area.present().ok()?;
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::super::{Latency, Loss, Throughput};
    use super::*;

    #[test]
    fn the_page_needs_nothing_else_and_says_what_the_numbers_are() {
        let sizes = [64usize, 1518].map(|size| SizeReport {
            size,
            line_pps: 1e6,
            ndr: Some(Throughput {
                pps: 654_321.0,
                ..Throughput::default()
            }),
            latency: vec![Latency::default()],
            frame_loss: vec![Loss {
                percent: 100,
                pps: 1e6,
                loss: 0.25,
            }],
            back_to_back: Some(77),
            back_to_back_limit: 100,
            ..SizeReport::default()
        });
        let report = Report {
            title: "a <b>".into(),
            sizes: sizes.to_vec(),
            ..Report::default()
        };
        let html = page(&report);
        assert!(html.matches("<svg").count() == 3 && html.contains("654321") && html.contains("a &lt;b&gt;"));
        assert!(
            !html.contains("http-equiv") && !html.contains("src="),
            "self-contained"
        );
        assert_eq!(report.csv().lines().count(), 3);
        assert!(report.csv().contains("64,1000000.0,654321.0"));
        assert!(report.table().contains("77"));
    }
}
