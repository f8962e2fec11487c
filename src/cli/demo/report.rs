//! The report of a demo, as a table and as JSON, and the commands that reproduce the linkage.

use std::path::Path;

use serde::Serialize;

use super::bloom::ENCODING_BYTES;
use super::ground_truth::Score;
use crate::model::Threshold;

/// The default address of a server.
const API: &str = "http://127.0.0.1:8851/api/v1";

/// The figures of a finished demo.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) parties: usize,
    pub(super) records: usize,
    pub(super) threshold: Threshold,
    pub(super) comparisons: u64,
    pub(super) comparisons_per_second: f64,
    pub(super) prepare_seconds: f64,
    pub(super) upload_seconds: f64,
    pub(super) run_seconds: f64,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) score: Score,
}

impl Report {
    /// Formats the report, a line for each figure.
    pub(super) fn table(&self) -> String {
        let seconds = format!(
            "{:.2} (people and encodings {:.2}, uploads {:.2}, run {:.2})",
            self.seconds, self.prepare_seconds, self.upload_seconds, self.run_seconds
        );
        lines(
            [
                ("records", format!("{} x {}", self.parties, thousands(self.records as u64))),
                ("threshold", self.threshold.get().to_string()),
                ("comparisons", thousands(self.comparisons)),
                ("comparisons a second", thousands(self.comparisons_per_second as u64)),
                ("seconds", seconds),
                ("pairs found", thousands(self.score.pairs_found)),
                ("pairs there are", thousands(self.score.pairs_true)),
                ("precision", format!("{:.4}", self.score.precision)),
                ("recall", format!("{:.4}", self.score.recall)),
            ]
            .map(|(name, value)| format!("{name:<22}{value}")),
        )
    }

    /// Formats the demo's requests as curl commands, with the files in the directory `kept` if there is one.
    pub(super) fn commands(&self, kept: Option<&Path>) -> String {
        let hint = if kept.is_some() { "" } else { " (`entityd demo --keep DIR` keeps the files)" };
        let heading = format!("Commands that do the same while `entityd serve` runs{hint}:");
        let uploads = (0..self.parties).map(|party| self.upload_command(party, kept));
        let token = "-H \"Authorization: $RESULT_TOKEN\"";
        let run = format!(
            "  curl {API}/projects/$PROJECT_ID/runs {token} -H 'Content-Type: application/json' \
             -d '{{\"threshold\": {}}}'",
            self.threshold.get()
        );
        let create = format!(
            "  curl {API}/projects -H 'Content-Type: application/json' \
             -d '{{\"schema\": {{}}, \"result_type\": \"groups\", \"number_parties\": {}}}'",
            self.parties
        );
        let status = format!("  curl {API}/projects/$PROJECT_ID/runs/$RUN_ID/status {token}");
        let result = format!("  curl {API}/projects/$PROJECT_ID/runs/$RUN_ID/result {token}");
        lines([heading, String::new(), create].into_iter().chain(uploads).chain([run, status, result]))
    }

    fn upload_command(&self, party: usize, kept: Option<&Path>) -> String {
        let file = kept.unwrap_or(Path::new("")).join(format!("party-{party}.bin"));
        format!(
            "  curl {API}/projects/$PROJECT_ID/binaryclks -H \"Authorization: $UPDATE_TOKEN_{party}\" \
             -H 'Content-Type: application/octet-stream' -H 'Hash-Count: {}' -H 'Hash-Size: {ENCODING_BYTES}' \
             --data-binary '@{}'",
            self.records,
            file.display()
        )
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Formats a number with a comma after every three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let written = [0, 999, 1000, 1_234_567].map(thousands);
        assert_eq!(written, ["0", "999", "1,000", "1,234,567"]);
    }
}
