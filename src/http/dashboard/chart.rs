//! Charts as SVG. Each is shown beside a table of the same numbers.

use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 16.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
/// The maximum width of a character of a label: on a phone, where text is drawn larger.
const CHARACTER: f64 = 12.0;
/// The minimum space between two labels.
const SPACE: f64 = 6.0;

/// The maximum number of labels below lines, of four characters each. The first one is not centered.
const LABELS: usize = 6;

/// A bar of a chart.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// The label below it; empty for none.
    pub(super) label: String,
    /// The value.
    pub(super) value: f64,
    /// Set if it is drawn without emphasis.
    pub(super) is_faint: bool,
}

/// Draws bars on a logarithmic scale, since counts differ widely. `title`, without markup, is for screen readers, and
/// `top` is the label of the highest value.
pub(super) fn bars(title: &'static str, bars: &[Bar], top: &str) -> String {
    let height = |value: f64| (1.0 + value.max(0.0)).log10();
    let highest = bars.iter().map(|bar| height(bar.value)).fold(0.0, f64::max);
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let base = HEIGHT - BOTTOM;
    // The bars are at most this wide.
    let step = (inner_width / bars.len().max(1) as f64).min(64.0);
    let gap = if step > 8.0 { 2.0 } else { 0.5 };
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{TOP}\" y2=\"{TOP}\"/>\
         <text x=\"{LEFT}\" y=\"{}\">{top} (logarithmic scale)</text>",
        WIDTH - RIGHT,
        TOP - 9.0,
    );
    // Labels that would touch the one before are left out.
    let mut free_from = 0.0;
    for (at, bar) in bars.iter().enumerate() {
        let x = LEFT + at as f64 * step;
        if highest > 0.0 && bar.value > 0.0 {
            let tall = (height(bar.value) / highest * inner_height).max(1.0);
            let class = if bar.is_faint { "bar below" } else { "bar" };
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" rx=\"1\"/>",
                x + gap / 2.0,
                base - tall,
                (step - gap).max(0.5),
            );
        }
        let (middle, half) = (x + step / 2.0, bar.label.len() as f64 * CHARACTER / 2.0);
        if !bar.label.is_empty() && middle - half >= free_from {
            free_from = middle + half + SPACE;
            let _ = write!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 20.0,
                bar.label
            );
        }
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/></svg>",
        WIDTH - RIGHT
    );
    svg
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The name in the legend.
    pub(super) name: &'static str,
    /// A value for each label.
    pub(super) values: Vec<f64>,
}

/// Draws two lines on one scale that begins at zero. `title` and `top` are as in [`bars`].
pub(super) fn lines(title: &'static str, lines: &[Line; 2], labels: &[&str], top: &str) -> String {
    let highest = lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max).max(1.0);
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let base = HEIGHT - BOTTOM;
    let step = inner_width / labels.len().saturating_sub(1).max(1) as f64;
    let (x, y) = (|at: usize| LEFT + at as f64 * step, |value: f64| base - value / highest * inner_height);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\
         <line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{TOP}\" y2=\"{TOP}\"/>\
         <text x=\"{LEFT}\" y=\"{}\">{top}</text>",
        WIDTH - RIGHT,
        TOP - 9.0,
    );
    for (number, line) in lines.iter().enumerate() {
        let points: Vec<String> = line
            .values
            .iter()
            .enumerate()
            .map(|(at, value)| format!("{:.1},{:.1}", x(at), y(*value)))
            .collect();
        let class = if number == 0 { "line" } else { "line second" };
        let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        // The legend at the top lists the lines in order.
        let left = WIDTH - RIGHT - 190.0 + number as f64 * 98.0;
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{left}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            left + 22.0,
            TOP - 13.0,
            TOP - 13.0,
            left + 28.0,
            TOP - 9.0,
            line.name,
        );
    }
    let every = labels.len().div_ceil(LABELS).max(1);
    for (at, label) in labels.iter().enumerate().filter(|(at, _)| at.is_multiple_of(every)) {
        let anchor = if at == 0 {
            "start"
        } else if at + 1 == labels.len() {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{label}</text>",
            x(at),
            base + 20.0
        );
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/></svg>",
        WIDTH - RIGHT
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        let bar = |value| Bar { label: "a".to_owned(), value, is_faint: false };
        let svg = bars("a title", &[bar(9.0), bar(99.0), bar(0.0)], "99");
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("height=\"88.0\"") && svg.contains("height=\"176.0\""), "{svg}");
        assert!(!svg.contains("style="), "{svg}");
        assert!(bars("", &[], "0").ends_with("</svg>"));
    }

    #[test]
    fn labels_do_not_touch() {
        let bar = |label: String| Bar { label, value: 1.0, is_faint: false };
        for (count, every, shown) in [(11, 1, 6), (3, 1, 3), (101, 10, 11)] {
            let label = |at: usize| match every {
                1 => format!("{:.2}", 0.9 + at as f64 / 100.0),
                _ if at.is_multiple_of(every) => format!("{:.1}", at as f64 / 100.0),
                _ => String::new(),
            };
            let svg = bars("a title", &(0..count).map(|at| bar(label(at))).collect::<Vec<_>>(), "1");
            assert_eq!(svg.matches("text-anchor").count(), shown, "{svg}");
        }
    }

    #[test]
    fn lines_fall_from_the_left() {
        let line = |name, values| Line { name, values };
        let svg =
            lines("a title", &[line("a", vec![4.0, 2.0]), line("b", vec![1.0, 0.0])], &["0.8", "0.9"], "4");
        assert!(svg.contains("points=\"16.0,30.0 464.0,118.0\""), "{svg}");
        assert!(svg.contains("points=\"16.0,162.0 464.0,206.0\"") && !svg.contains("style="), "{svg}");
        let single = lines("", &[line("a", vec![0.0]), line("b", vec![0.0])], &["1"], "0");
        assert!(single.ends_with("</svg>") && !single.contains("NaN"));
    }
}
