//! Draws precision, recall and F at each threshold, as SVG.

use std::fmt::Write;

use super::truth::Quality;

/// The position and size of the plot, in pixels.
const LEFT: f64 = 50.0;
const TOP: f64 = 20.0;
const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 320.0;
/// The number of intervals between the marks of an axis.
const MARKS: u32 = 5;

/// A line of the chart: its name, its colour, and its value.
type Line = (&'static str, &'static str, fn(&Quality) -> f64);

const LINES: [Line; 3] = [
    ("precision", "#1b6ca8", |quality| quality.precision),
    ("recall", "#c8511b", |quality| quality.recall),
    ("F", "#3c7a3c", |quality| quality.f),
];

/// Draws a chart.
pub(super) fn svg(qualities: &[Quality]) -> String {
    let thresholds = || qualities.iter().map(|quality| quality.threshold);
    let (low, high) = (thresholds().fold(1.0, f64::min), thresholds().fold(0.0, f64::max));
    let span = (high - low).max(0.01);
    let x = |threshold: f64| LEFT + WIDTH * (threshold - low) / span;
    let y = |share: f64| TOP + HEIGHT * (1.0 - share);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"640\" height=\"400\" fill=\"white\"/>\n",
    );
    // Writing to a string does not fail.
    for mark in 0..=MARKS {
        let share = f64::from(mark) / f64::from(MARKS);
        let (at, threshold) = (y(share), low + span * share);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ccc\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{share:.1}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{threshold:.2}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            at + 4.0,
            x(threshold),
            TOP + HEIGHT + 18.0
        );
    }
    for (number, (name, colour, value)) in LINES.iter().enumerate() {
        let points =
            qualities.iter().map(|quality| format!("{:.1},{:.1}", x(quality.threshold), y(value(quality))));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"390\" fill=\"{colour}\">{name}</text>",
            LEFT + 90.0 * number as f64
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"390\" text-anchor=\"end\">threshold</text>\n</svg>",
        LEFT + WIDTH
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_line_for_each_measure() {
        let at = |threshold| Quality { threshold, groups: 1, pairs: 1, precision: 1.0, recall: 0.5, f: 0.67 };
        for qualities in [vec![at(0.8)], vec![at(0.7), at(0.8), at(1.0)]] {
            let svg = svg(&qualities);
            assert_eq!(svg.matches("<polyline").count(), 3);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
