//! Charts of a result: what higher thresholds would have found, and the sizes of groups or the scores of pairs.

use std::collections::{BTreeMap, HashSet};

use askama::Template;

use super::chart::{self, Bar, Line};
use super::figures;
use super::results::{Matrices, encoding, list, matrices, score};
use crate::http::ApiState;
use crate::http::problem::Problem;
use crate::http::result_forms::{Elements, numbers};
use crate::model::{ProjectState, ResultType, Run, RunState};
use crate::objects::keys;
use crate::runtime::compute;

/// The maximum number of bytes of a result that charts are made from.
const BYTES_MAX: usize = 32 << 20;
/// The maximum number of pairs within groups that are compared for a chart.
const COMPARISONS_MAX: u64 = 4_000_000;
/// The maximum number of bars of a chart: a bar for each hundredth of a score.
const BARS_MAX: usize = 101;

/// The charts of a result.
#[derive(Template)]
#[template(path = "charts.html", config = "assets/dashboard/askama.toml")]
pub(super) struct View {
    charts: Vec<Chart>,
}

#[derive(Default)]
struct Chart {
    title: &'static str,
    note: String,
    svg: String,
    table: &'static str,
    heads: Vec<&'static str>,
    /// Empty for a note alone.
    rows: Vec<Vec<String>>,
}

impl Chart {
    /// Adds a bar and a row of the table for each label and its count. Every `every`-th bar has its label, the last one
    /// included; `words`, without markup, is for screen readers.
    fn of_counts(self, words: &'static str, counts: &[(String, u64)], every: usize) -> Self {
        let last = counts.len().min(BARS_MAX).saturating_sub(1);
        let bar = |(at, (label, count)): (usize, &(String, u64))| Bar {
            label: if (last - at).is_multiple_of(every) { label.clone() } else { String::new() },
            value: *count as f64,
            is_faint: false,
        };
        let bars: Vec<Bar> = counts.iter().take(BARS_MAX).enumerate().map(bar).collect();
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        Self {
            svg: chart::bars(words, &bars, &figures::grouped(most)),
            rows: counts.iter().map(|(label, count)| vec![label.clone(), figures::grouped(*count)]).collect(),
            ..self
        }
    }
}

/// Returns the charts of the result of a completed run; none for a mask.
///
/// # Errors
/// 404 if there is no result; 500 if it is missing or damaged.
pub(super) async fn view(state: &ApiState, project: &ProjectState, run: &Run) -> Result<View, Problem> {
    let RunState::Completed(_) = &run.state else {
        return Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "the run has no result yet"));
    };
    let threshold = run.threshold.get();
    let charts = match project.result_type {
        ResultType::Permutations => Vec::new(),
        ResultType::Groups => {
            let blob = state.objects.blob(&keys::groups(project.id, run.id)).await?;
            let matrices = matrices(state, project).await?;
            compute::run_blocking(move || of_groups(list(&blob), threshold, &matrices))
                .await
                .map_err(|_| Problem::unexplained())?
        }
        ResultType::SimilarityScores => {
            let blob = state.objects.blob(&keys::scores(project.id, run.id)).await?;
            let made = compute::run_blocking(move || of_scores(list(&blob), threshold)).await;
            made.map_err(|_| Problem::unexplained())?
        }
    };
    Ok(View { charts })
}

/// Pairs and groups by threshold, in hundredths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByThreshold {
    /// The number of pairs with each score.
    pairs: [u64; 101],
    /// The change in the number of groups at each score; a merge of two groups counts as -1.
    groups: [i64; 101],
}

impl Default for ByThreshold {
    fn default() -> Self {
        Self { pairs: [0; 101], groups: [0; 101] }
    }
}

/// Returns a score in hundredths, rounded down. The small addend makes a score of 0.29 return 29 despite rounding
/// errors.
fn hundredths(score: f64) -> usize {
    (score * 100.0 + 1e-9).floor().clamp(0.0, 100.0) as usize
}

impl ByThreshold {
    /// Returns the threshold of the run and each hundredth above it, with the pairs and the groups at or above it.
    fn rows(&self, threshold: f64) -> Vec<(String, u64, u64)> {
        let lowest = (threshold * 100.0 - 1e-9).ceil().clamp(0.0, 100.0) as usize;
        let sum = |from: usize| {
            let groups = self.groups[from..].iter().sum::<i64>();
            (self.pairs[from..].iter().sum::<u64>(), u64::try_from(groups).unwrap_or(0))
        };
        let row = |label: String, (pairs, groups): (u64, u64)| (label, pairs, groups);
        // All scores of the result are at or above the threshold.
        let first = row(threshold.to_string(), sum(0));
        let is_hundredth = (lowest as f64 - threshold * 100.0).abs() < 1e-6;
        let rest = lowest + usize::from(is_hundredth)..=100;
        std::iter::once(first)
            .chain(rest.map(|at| row(format!("{:.2}", at as f64 / 100.0), sum(at))))
            .collect()
    }

    fn chart(&self, threshold: f64, note: String) -> Chart {
        let rows = self.rows(threshold);
        let line = |name, value: fn(&(String, u64, u64)) -> u64| Line {
            name,
            values: rows.iter().map(|row| value(row) as f64).collect(),
        };
        let lines = [line("pairs", |row| row.1), line("groups", |row| row.2)];
        let most = rows.iter().map(|row| row.1.max(row.2)).max().unwrap_or(0);
        let labels: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
        Chart {
            title: "Higher thresholds",
            note,
            svg: chart::lines(
                "Pairs and groups by threshold; the table has the same numbers",
                &lines,
                &labels,
                &figures::grouped(most),
            ),
            table: "Table of higher thresholds",
            heads: vec!["Threshold", "Pairs", "Groups"],
            rows: rows
                .into_iter()
                .map(|(label, pairs, groups)| vec![label, figures::grouped(pairs), figures::grouped(groups)])
                .collect(),
        }
    }
}

fn cut(list: &[u8]) -> (&[u8], bool) {
    (&list[..list.len().min(BYTES_MAX)], list.len() <= BYTES_MAX)
}

fn of_whole(is_whole: bool, what: &str) -> String {
    if is_whole { String::new() } else { format!(" Made from the first {what}.") }
}

fn of_groups(list: &[u8], threshold: f64, matrices: &Matrices) -> Vec<Chart> {
    let (list, is_whole) = cut(list);
    let (mut sizes, mut seen) = (BTreeMap::<usize, u64>::new(), 0_u64);
    let (mut found, mut compared, mut groups) = (ByThreshold::default(), 0_u64, 0_u64);
    Elements::within().read(list, |group| {
        let fields: Vec<&[u8]> = numbers(group).collect();
        let (records, _) = fields.as_chunks::<2>();
        *sizes.entry(records.len()).or_default() += 1;
        seen += 1;
        let pairs = records.len() as u64 * (records.len() as u64).saturating_sub(1) / 2;
        // Only the first groups are compared, so that the note can say which.
        if groups + 1 == seen && compared + pairs <= COMPARISONS_MAX {
            let rows: Option<Vec<&[u8]>> = records.iter().map(|record| encoding(record, matrices)).collect();
            if let Some(rows) = rows {
                grow(&rows, &mut found);
                compared += pairs;
                groups = seen;
            }
        }
    });
    let mut charts = Vec::new();
    if groups > 0 {
        let part = of_whole(is_whole && groups == seen, &figures::counted(groups, "group"));
        let note = format!(
            "The groups that a run with a higher threshold would find, and its pairs within the groups of this run.{part}"
        );
        charts.push(found.chart(threshold, note));
    }
    if seen > 0 {
        charts.push(group_sizes(&sizes, &of_whole(is_whole, &figures::counted(seen, "group"))));
    }
    charts
}

/// Counts the pairs within a group by score, and repeats the steps in which the solver builds the group: it takes the
/// best pair first, and merges two groups once all pairs between them are present. Pairs with other groups have no
/// effect.
fn grow(rows: &[&[u8]], found: &mut ByThreshold) {
    let mut pairs = Vec::new();
    for (a, left) in rows.iter().enumerate() {
        pairs.extend(rows.iter().enumerate().skip(a + 1).map(|(b, right)| (score(left, right), a, b)));
    }
    pairs.sort_by(|one, two| two.0.total_cmp(&one.0).then((one.1, one.2).cmp(&(two.1, two.2))));
    let mut group_of: Vec<usize> = (0..rows.len()).collect();
    let mut sizes = vec![1_u64; rows.len()];
    let mut between: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (score, a, b) in pairs {
        let at = hundredths(score);
        found.pairs[at] += 1;
        let (one, two) = (group_of[a].min(group_of[b]), group_of[a].max(group_of[b]));
        let count = between.entry((one, two)).or_default();
        *count += 1;
        if *count < sizes[one] * sizes[two] {
            continue;
        }
        found.groups[at] += match (sizes[one], sizes[two]) {
            (1, 1) => 1,
            (1, _) | (_, 1) => 0,
            _ => -1,
        };
        sizes[one] += std::mem::take(&mut sizes[two]);
        group_of.iter_mut().filter(|group| **group == two).for_each(|group| *group = one);
        let moved: Vec<((usize, usize), u64)> =
            between.extract_if(.., |key, _| key.0 == two || key.1 == two).collect();
        for ((x, y), count) in moved {
            let other = if x == two { y } else { x };
            if other != one {
                *between.entry((one.min(other), one.max(other))).or_default() += count;
            }
        }
    }
}

fn group_sizes(sizes: &BTreeMap<usize, u64>, part: &str) -> Chart {
    let chart = Chart { title: "Sizes of groups", table: "Table of the sizes of groups", ..Chart::default() };
    // One bar says less than a sentence.
    if let (1, Some((size, count))) = (sizes.len(), sizes.first_key_value()) {
        let note = match count {
            1 => format!("The group has {size} records.{part}"),
            _ => format!("Each of the {} groups has {size} records.{part}", figures::grouped(*count)),
        };
        return Chart { note, ..chart };
    }
    let counts: Vec<(String, u64)> = sizes.iter().map(|(size, count)| (size.to_string(), *count)).collect();
    let note = format!("Groups by their number of records.{part}");
    let words = "Groups by their number of records; the table has the same numbers";
    Chart { note, heads: vec!["Records", "Groups"], ..chart }.of_counts(words, &counts, 1)
}

/// Returns the charts of scores, which are sorted from the highest.
fn of_scores(list: &[u8], threshold: f64) -> Vec<Chart> {
    let (list, is_whole) = cut(list);
    let (mut found, mut seen) = (ByThreshold::default(), 0_u64);
    let mut used: HashSet<(usize, Vec<u8>)> = HashSet::new();
    Elements::within().read(list, |pair| {
        let fields: Vec<&[u8]> = numbers(pair).collect();
        let &[_, left, _, right, score] = fields.as_slice() else { return };
        let score = std::str::from_utf8(score).ok().and_then(|score| score.parse::<f64>().ok());
        let at = hundredths(score.unwrap_or(0.0));
        found.pairs[at] += 1;
        seen += 1;
        // Each record is in one group, with its best partner that is not in another group.
        let (left, right) = ((0, left.to_vec()), (1, right.to_vec()));
        if !used.contains(&left) && !used.contains(&right) {
            used.extend([left, right]);
            found.groups[at] += 1;
        }
    });
    if seen == 0 {
        return Vec::new();
    }
    let part = of_whole(is_whole, &figures::counted(seen, "pair"));
    let note = format!(
        "The pairs that a higher threshold would keep, and the groups that a project of type groups would make of them.{part}"
    );
    vec![found.chart(threshold, note), scores(&found, &part)]
}

fn scores(found: &ByThreshold, part: &str) -> Chart {
    let lowest = found.pairs.iter().position(|count| *count > 0).unwrap_or(100);
    let counts: Vec<(String, u64)> =
        (lowest..=100).map(|at| (format!("{:.2}", at as f64 / 100.0), found.pairs[at])).collect();
    let chart = Chart {
        title: "Scores",
        note: format!("Pairs by their score, in hundredths.{part}"),
        table: "Table of the scores",
        heads: vec!["Score", "Pairs"],
        ..Chart::default()
    };
    let words = "Pairs by their score; the table has the same numbers";
    chart.of_counts(words, &counts, (counts.len() / 8).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(chart: &Chart) -> Vec<&[String]> {
        chart.rows.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn a_higher_threshold_keeps_the_pairs_above_it() {
        let json = br"[[0, 1], [1, 7], 1.0],[[0, 2], [1, 8], 0.955],[[0, 3], [1, 8], 0.95]]}";
        let [above, scores] = of_scores(json, 0.945).try_into().ok().unwrap();
        assert_eq!(rows(&above)[0], ["0.945", "3", "2"]);
        assert_eq!(rows(&above)[1], ["0.95", "3", "2"]);
        assert_eq!(rows(&above)[2], ["0.96", "1", "1"]);
        assert_eq!(rows(&above)[6], ["1.00", "1", "1"]);
        assert_eq!(rows(&scores)[0], ["0.95", "2"]);
    }

    #[test]
    fn groups_grow_as_the_threshold_falls() {
        // Scores: a and b 1, c and d 1, all others 6/7: two groups that become one.
        let (a, c) = ([0b0111_1111, 0], [0b1011_1111, 0]);
        let mut found = ByThreshold::default();
        grow(&[&a, &a, &c, &c], &mut found);
        let shown = found.rows(0.8);
        assert_eq!(shown[0], ("0.8".to_owned(), 6, 1));
        assert_eq!(shown[5], ("0.85".to_owned(), 6, 1));
        assert_eq!(shown[6], ("0.86".to_owned(), 2, 2));
        assert_eq!(shown[20], ("1.00".to_owned(), 2, 2));
    }

    #[test]
    fn sizes_are_counted_without_encodings() {
        let json = br"[[0, 1], [1, 2]], [[0, 2], [1, 3], [2, 4]]]}";
        let [sizes] = of_groups(json, 0.8, &Vec::new()).try_into().ok().unwrap();
        assert_eq!(rows(&sizes), [["2", "1"], ["3", "1"]]);
        assert!(of_groups(b"]}", 0.8, &Vec::new()).is_empty());
    }

    #[test]
    fn one_size_is_a_sentence() {
        let json = br"[[0, 1], [1, 2]], [[0, 2], [1, 3]]]}";
        let [sizes] = of_groups(json, 0.8, &Vec::new()).try_into().ok().unwrap();
        assert_eq!(sizes.note, "Each of the 2 groups has 2 records.");
        assert!(rows(&sizes).is_empty());
    }
}
