//! The result of a run as pages of a table.

use askama::Template;
use linkage::similarity::dice;
use memchr::memmem;
use serde::Deserialize;

use super::figures;
use crate::http::ApiState;
use crate::http::problem::Problem;
use crate::http::result_forms::{Elements, numbers};
use crate::model::{Party, ProjectState, ResultType, Run, RunState};
use crate::objects::{Blob, keys};
use crate::runtime::compute;

/// The number of rows on a page.
const PAGE: u64 = 50;
/// The maximum number of datasets that have a column each.
const COLUMNS_MAX: usize = 5;

/// The page to show, from the query of the page's URL.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct PageWish {
    #[serde(default)]
    page: u64,
}

/// A page of a result.
#[derive(Template)]
#[template(path = "result.html", config = "assets/dashboard/askama.toml")]
pub(super) struct View {
    project: String,
    run: String,
    caption: &'static str,
    heads: Vec<Head>,
    rows: Vec<Vec<String>>,
    first: String,
    last: String,
    total: String,
    page: u64,
    previous: Option<u64>,
    next: Option<u64>,
    end: u64,
}

struct Head {
    label: String,
    is_number: bool,
}

/// Returns a page of the result of a completed run.
///
/// # Errors
/// 404 if there is none; 500 if it is missing or damaged.
pub(super) async fn view(
    state: &ApiState,
    project: &ProjectState,
    run: &Run,
    wish: PageWish,
) -> Result<View, Problem> {
    let RunState::Completed(summary) = &run.state else {
        return Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "the run has no result yet"));
    };
    let (id, run_id) = (project.id, run.id);
    let has_scores = keeps_scores(project, run);
    let (key, known) = match project.result_type {
        ResultType::Groups if has_scores => (keys::groups_with_scores(id, run_id), Some(summary.groups)),
        ResultType::Groups => (keys::groups(id, run_id), Some(summary.groups)),
        ResultType::SimilarityScores => (keys::scores(id, run_id), Some(summary.pairs)),
        ResultType::Permutations => (keys::mask(id, run_id), None),
    };
    let blob = state.objects.blob(&key).await?;
    let matrices = if has_scores { Vec::new() } else { matrices(state, project).await? };
    let layout = Layout { result_type: project.result_type, parties: project.parties.len(), has_scores };
    let made = compute::run_blocking(move || Made::of(&blob, layout, wish.page, known, &matrices)).await;
    let made = made.map_err(|_| Problem::unexplained())?;
    let end = made.total.saturating_sub(1) / PAGE;
    let page = wish.page.min(end);
    Ok(View {
        project: id.to_string(),
        run: run_id.to_string(),
        caption: layout.caption(),
        heads: layout.heads(),
        first: figures::grouped((page * PAGE + 1).min(made.total)),
        last: figures::grouped((page * PAGE + PAGE).min(made.total)),
        total: figures::grouped(made.total),
        rows: made.rows,
        page,
        previous: page.checked_sub(1),
        next: Some(page + 1).filter(|next| *next <= end),
        end,
    })
}

/// The columns of a table.
#[derive(Clone, Copy)]
struct Layout {
    result_type: ResultType,
    parties: usize,
    /// The scores within the groups are stored.
    has_scores: bool,
}

impl Layout {
    /// Returns whether each dataset has a column, in which its records are.
    const fn has_columns(self) -> bool {
        self.parties <= COLUMNS_MAX
    }

    const fn caption(self) -> &'static str {
        match self.result_type {
            ResultType::Permutations => {
                "Rows are those of the new orders that the parties get, counted from 0."
            }
            _ if self.has_columns() => {
                "Records of each dataset are counted from 0, in the order of the upload."
            }
            _ => "Records are written as dataset: record, both counted from 0.",
        }
    }

    fn heads(self) -> Vec<Head> {
        let head = |label: &str, is_number| Head { label: label.to_owned(), is_number };
        let records = || {
            if self.has_columns() {
                (0..self.parties).map(|dataset| head(&format!("Dataset {dataset}"), true)).collect()
            } else {
                vec![head("Records", false)]
            }
        };
        let (first, records, last) = match self.result_type {
            ResultType::Permutations => ("Row", Vec::new(), "Same person"),
            ResultType::SimilarityScores => ("Pair", records(), "Score"),
            ResultType::Groups if self.has_scores => ("Group", records(), "Scores"),
            ResultType::Groups => ("Group", records(), "Lowest similarity"),
        };
        let records = records.into_iter();
        std::iter::once(head(first, true)).chain(records).chain([head(last, false)]).collect()
    }

    /// Returns the cells for the records of a row.
    fn records(self, pairs: &[[&[u8]; 2]]) -> Vec<String> {
        let text = |number: &[u8]| String::from_utf8_lossy(number).into_owned();
        if !self.has_columns() {
            let record = |[dataset, record]: &[&[u8]; 2]| format!("{}:\u{a0}{}", text(dataset), text(record));
            return vec![pairs.iter().map(record).collect::<Vec<_>>().join(", ")];
        }
        let cell = |dataset: usize| {
            let dataset = dataset.to_string();
            let own = pairs.iter().filter(|[of, _]| *of == dataset.as_bytes());
            let records: Vec<String> = own.map(|[_, record]| text(record)).collect();
            if records.is_empty() { "–".to_owned() } else { records.join(", ") }
        };
        (0..self.parties).map(cell).collect()
    }
}

/// Returns whether the result of a run has the scores within its groups.
pub(super) fn keeps_scores(project: &ProjectState, run: &Run) -> bool {
    run.with_scores && run.checksum(keys::groups_with_scores(project.id, run.id).name()).is_some()
}

/// The encodings of each party, and the size of one in bytes.
pub(super) type Matrices = Vec<(Blob, usize)>;

/// Returns the encodings of each party, if they are on this machine: the scores of groups are computed from them.
pub(super) async fn matrices(state: &ApiState, project: &ProjectState) -> Result<Matrices, Problem> {
    let is_wanted = project.result_type == ResultType::Groups && state.objects.directories().len() > 1;
    let mut matrices = Vec::new();
    for (party, dataset) in (0..).zip(project.parties.iter().map_while(Party::dataset)) {
        if is_wanted {
            let blob = state.objects.blob(&keys::matrix(project.id, party, dataset.upload)).await?;
            matrices.push((blob, dataset.encoding_bytes as usize));
        }
    }
    Ok(matrices)
}

/// The content of a page.
struct Made {
    total: u64,
    rows: Vec<Vec<String>>,
}

impl Made {
    /// Reads a page. Blocks.
    fn of(json: &[u8], layout: Layout, page: u64, known: Option<u64>, matrices: &[(Blob, usize)]) -> Self {
        let list = list(json);
        let is_flat = layout.result_type == ResultType::Permutations;
        let total = known.unwrap_or_else(|| count(list));
        let page = page.min(total.saturating_sub(1) / PAGE);
        let on_page = elements(list, offset(list, page * PAGE, if is_flat { b"," } else { b"[[" }));
        let rows = (page * PAGE..).zip(&on_page).map(|(at, element)| row(layout, at, element, matrices));
        let mut rows: Vec<Vec<String>> = rows.collect();
        if layout.has_scores
            && let Some(list) = scores(json)
        {
            let within = elements(list, offset(list, page * PAGE, b"[[["));
            for (row, pairs) in rows.iter_mut().zip(&within) {
                row.pop();
                row.push(scores_of(pairs));
            }
        }
        Self { total, rows }
    }
}

/// Returns a page of the elements from this position on.
fn elements(list: &[u8], start: usize) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    let mut reader = Elements::within();
    // Elements are short: the first chunks contain a page of them.
    for piece in list[start..].chunks(16 << 10) {
        reader.read(piece, |element| {
            if (elements.len() as u64) < PAGE {
                elements.push(element.to_vec());
            }
        });
        if elements.len() as u64 == PAGE {
            break;
        }
    }
    elements
}

/// Returns the list of the pairs within each group, from the byte after its opening bracket, if the result has it.
fn scores(json: &[u8]) -> Option<&[u8]> {
    const BEGIN: &[u8] = b"\"scores\": [";
    memmem::find(json, BEGIN).map(|at| &json[at + BEGIN.len()..])
}

/// Returns the scores of the pairs within a group. If there are several, each is shown with its datasets.
fn scores_of(pairs: &[u8]) -> String {
    let text = |number: &[u8]| String::from_utf8_lossy(number).into_owned();
    let fields: Vec<&[u8]> = numbers(pairs).collect();
    let (pairs, _) = fields.as_chunks::<5>();
    match pairs {
        [[.., score]] => text(score),
        pairs => {
            let one =
                |[d, _, e, _, score]: &[&[u8]; 5]| format!("{}–{}:\u{a0}{}", text(d), text(e), text(score));
            pairs.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Returns the elements of a stored result, from the byte after the opening bracket of their list.
pub(super) fn list(json: &[u8]) -> &[u8] {
    let begin = memchr::memchr(b'[', json).map_or(json.len(), |at| at + 1);
    &json[begin..]
}

/// Returns the number of elements of a flat list.
fn count(list: &[u8]) -> u64 {
    let end = memchr::memchr(b']', list).unwrap_or(list.len());
    let list = &list[..end];
    if list.is_empty() { 0 } else { memchr::memchr_iter(b',', list).count() as u64 + 1 }
}

/// Returns the position of an element. If `mark` is a comma, it separates the elements; otherwise every element begins
/// with `mark`, which occurs nowhere else.
fn offset(list: &[u8], element: u64, mark: &[u8]) -> usize {
    let element = usize::try_from(element).unwrap_or(usize::MAX);
    let found = match (element, mark) {
        (0, _) => Some(0),
        (element, b",") => memchr::memchr_iter(b',', list).nth(element - 1).map(|at| at + 1),
        (element, mark) => memmem::find_iter(list, mark).nth(element),
    };
    found.unwrap_or(list.len())
}

fn row(layout: Layout, at: u64, element: &[u8], matrices: &[(Blob, usize)]) -> Vec<String> {
    let fields: Vec<&[u8]> = numbers(element).collect();
    let (pairs, rest) = fields.as_chunks::<2>();
    let (records, last) = match layout.result_type {
        ResultType::Groups => (layout.records(pairs), least_score(pairs, matrices)),
        ResultType::SimilarityScores => {
            let score = rest.first().copied().unwrap_or_default();
            (layout.records(pairs), String::from_utf8_lossy(score).into_owned())
        }
        ResultType::Permutations => {
            (Vec::new(), if element == b"1" { "yes".to_owned() } else { "no".to_owned() })
        }
    };
    std::iter::once(figures::grouped(at)).chain(records).chain([last]).collect()
}

/// Returns the lowest Dice coefficient of any two records of a group.
fn least_score(group: &[[&[u8]; 2]], matrices: &[(Blob, usize)]) -> String {
    let rows: Option<Vec<&[u8]>> = group.iter().map(|record| encoding(record, matrices)).collect();
    let Some(rows) = rows.filter(|rows| rows.len() > 1) else { return "–".to_owned() };
    let mut least = 1.0_f64;
    for (at, a) in rows.iter().enumerate() {
        for b in &rows[at + 1..] {
            least = least.min(score(a, b));
        }
    }
    format!("{least:.4}")
}

/// Returns the encoding of a record, which is written as dataset and record.
pub(super) fn encoding<'a>(
    [dataset, record]: &[&[u8]; 2],
    matrices: &'a [(Blob, usize)],
) -> Option<&'a [u8]> {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<usize>().ok();
    let (matrix, bytes) = matrices.get(number(dataset)?)?;
    let start = number(record)?.checked_mul(*bytes)?;
    matrix.get(start..start + bytes)
}

/// Returns the Dice coefficient of two encodings.
pub(super) fn score(a: &[u8], b: &[u8]) -> f64 {
    dice::score(dice::common_bits(a, b), dice::popcount(a) + dice::popcount(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(json: &str, result_type: ResultType, page: u64, known: Option<u64>) -> Made {
        let layout = Layout { result_type, parties: 2, has_scores: json.contains("scores\": [[[[") };
        Made::of(json.as_bytes(), layout, page, known, &[])
    }

    #[test]
    fn every_page_of_a_result_has_its_rows() {
        let groups: Vec<String> = (0..120).map(|at| format!("[[0, {at}], [1, {}]]", at + 1)).collect();
        let json = format!("{{\"groups\": [{}]}}", groups.join(", "));
        for (page, count, first) in [
            (0, 50, ["0", "0", "1", "–"]),
            (2, 20, ["100", "100", "101", "–"]),
            (9, 20, ["100", "100", "101", "–"]),
        ] {
            let made = made(&json, ResultType::Groups, page, Some(120));
            assert_eq!(
                (made.rows.len(), made.rows[0].as_slice()),
                (count, &first.map(String::from)[..]),
                "{page}"
            );
        }

        let pairs: Vec<String> = (0..60).map(|at| format!("[[0, {at}], [1, 7], 0.95]")).collect();
        let within: Vec<String> = (0..120).map(|at| format!("[[[0, {at}], [1, {}], 0.9]]", at + 1)).collect();
        let json = format!("{{\"groups\": [{}], \"scores\": [{}]}}", groups.join(", "), within.join(", "));
        for (page, count, first) in [(0, 50, ["0", "0", "1", "0.9"]), (2, 20, ["100", "100", "101", "0.9"])] {
            let made = made(&json, ResultType::Groups, page, Some(120));
            assert_eq!((made.rows.len(), made.rows[0].as_slice()), (count, &first.map(String::from)[..]));
        }
        assert_eq!(
            scores_of(b"[[[0, 6], [1, 8], 1.0], [[0, 6], [2, 9], 0.9], [[1, 8], [2, 9], 0.8]]"),
            "0–1:\u{a0}1.0, 0–2:\u{a0}0.9, 1–2:\u{a0}0.8"
        );

        let json = format!("{{\"similarity_scores\": [{}]}}", pairs.join(","));
        let made_pairs = made(&json, ResultType::SimilarityScores, 1, Some(60));
        assert_eq!(made_pairs.rows[0], ["50", "50", "7", "0.95"]);

        let json = format!("{{\"mask\": [{}]}}", vec!["1"; 70].join(", "));
        let mask = made(&json, ResultType::Permutations, 1, None);
        assert_eq!((mask.total, mask.rows.len(), mask.rows[0][1].as_str()), (70, 20, "yes"));
        assert_eq!(made("{\"mask\": []}", ResultType::Permutations, 0, None).total, 0);
    }

    #[test]
    fn each_dataset_has_a_column_unless_there_are_many() {
        let fields: Vec<&[u8]> = numbers(b"[[0, 6], [2, 9], [2, 4]]").collect();
        let pairs = fields.as_chunks::<2>().0;
        let layout = |parties| Layout { result_type: ResultType::Groups, parties, has_scores: false };
        assert_eq!(layout(3).records(pairs), ["6", "–", "9, 4"]);
        assert_eq!(layout(6).records(pairs), ["0:\u{a0}6, 2:\u{a0}9, 2:\u{a0}4"]);
        let labels = |parties| layout(parties).heads().into_iter().map(|head| head.label).collect::<Vec<_>>();
        assert_eq!(labels(3), ["Group", "Dataset 0", "Dataset 1", "Dataset 2", "Lowest similarity"]);
        assert_eq!(labels(6), ["Group", "Records", "Lowest similarity"]);
    }
}
