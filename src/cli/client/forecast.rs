//! `entityd forecast`: forecasts the pairs, time and space of runs.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{Access, CODES};
use super::refusal::{Asked, Shape};
use super::{block_on, cell, show};
use crate::cli::columns::aligned;
use crate::cli::exit::Failure;
use crate::model::Threshold;

/// Forecasts the results and the cost of runs at several thresholds
///
/// The server compares a sample of the uploads, for less than a second. The command needs the analyst's token. The
/// reference service does not support forecasts.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Thresholds, separated by commas
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "0.95,0.9,0.85,0.8,0.75,0.7")]
    threshold: Vec<Threshold>,
}

impl Arguments {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let session = self.access.open()?;
        block_on(async {
            let thresholds: Vec<f64> = self.threshold.iter().map(|threshold| threshold.get()).collect();
            let body = json!({ "thresholds": thresholds });
            let asked = Asked {
                missing: "this server does not support forecasts; entityd does",
                ..Asked::new("forecasting", Shape::Member("thresholds"))
            };
            let answer = session.ask((Method::POST, "/forecast"), Some(&body), &asked).await?;
            show(&answer, session.json, table)
        })
    }
}

fn table(answer: &Value) -> String {
    let number = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let row = |at: &Value| {
        let between = format!("{} to {}", number(&at["pairs_low"]), number(&at["pairs_high"]));
        let seconds =
            at["seconds"].as_f64().map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
        let warning = if at["warning"].is_null() { String::new() } else { cell(&at["warning"]) };
        vec![cell(&at["threshold"]), number(&at["pairs"]), between, seconds, number(&at["bytes"]), warning]
    };
    let rows = answer["thresholds"].as_array().into_iter().flatten().map(row).collect();
    let head = ["threshold", "pairs", "95 % interval", "seconds", "bytes", "warning"];
    let kind = if answer["exact"] == true { "all compared" } else { "a sample compared" };
    let table = aligned(&head, rows);
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    let table = lines.join("\n") + "\n";
    format!("{} comparisons; {kind}: {}\n{table}", cell(&answer["comparisons"]), cell(&answer["compared"]))
}
