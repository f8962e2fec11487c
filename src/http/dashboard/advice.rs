//! Threshold advice: the pairs and the time of runs at several thresholds.

use std::time::Duration;

use askama::Template;

use super::chart::{self, Bar};
use super::figures;
use crate::http::ApiState;
use crate::http::forecast::{Outlook, outlook};
use crate::http::problem::Problem;
use crate::model::{ProjectState, Threshold};

/// The thresholds of the advice, in hundredths.
const HUNDREDTHS: [u32; 11] = [60, 65, 70, 75, 80, 85, 88, 90, 93, 95, 98];

/// The view of a forecast.
#[derive(Template)]
#[template(path = "forecast.html", config = "assets/dashboard/askama.toml")]
pub(super) struct View {
    comparisons: String,
    compared: String,
    is_exact: bool,
    svg: String,
    rows: Vec<Row>,
    warning: Option<String>,
}

struct Row {
    threshold: String,
    pairs: String,
    interval: String,
    time: String,
    size: String,
    is_too_many: bool,
}

/// Returns the view of a project's forecast.
///
/// # Errors
/// Like [`outlook`].
pub(super) async fn view(state: &ApiState, project: &ProjectState) -> Result<View, Problem> {
    let thresholds =
        HUNDREDTHS.iter().filter_map(|hundredths| Threshold::new(f64::from(*hundredths) / 100.0).ok());
    Ok(shown(&outlook(state, project, thresholds.collect()).await?))
}

fn shown(outlook: &Outlook) -> View {
    let forecast = &outlook.forecast;
    let count = |pairs: f64| figures::rounded(pairs);
    let row = |(at, estimate): (usize, &linkage::forecast::Estimate)| Row {
        threshold: format!("{:.2}", estimate.threshold.get()),
        pairs: count(estimate.pairs),
        interval: format!("{} to {}", count(estimate.interval[0]), count(estimate.interval[1])),
        time: figures::duration(Duration::try_from_secs_f64(outlook.seconds[at]).unwrap_or(Duration::MAX)),
        size: figures::size(outlook.bytes[at] as u64),
        is_too_many: outlook.warnings[at].is_some(),
    };
    let bars: Vec<Bar> = forecast
        .histogram
        .iter()
        .enumerate()
        .map(|(at, value)| Bar {
            label: if at.is_multiple_of(10) { format!("{:.1}", at as f64 / 100.0) } else { String::new() },
            value: *value,
            is_faint: at < 80,
        })
        .collect();
    let most = forecast.histogram.iter().copied().fold(0.0, f64::max);
    View {
        comparisons: figures::counted(forecast.comparisons, "comparison"),
        compared: figures::grouped(forecast.compared),
        is_exact: forecast.is_exact,
        svg: chart::bars(
            "Comparisons by similarity; the table has the pairs at each threshold",
            &bars,
            &figures::rounded(most),
        ),
        rows: forecast.estimates.iter().enumerate().map(row).collect(),
        warning: outlook.warnings.iter().rev().flatten().next().cloned(),
    }
}
