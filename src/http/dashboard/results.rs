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
    label: &'static str,
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
    let result_type = project.result_type;
    let made = compute::run_blocking(move || {
        Made::of(&blob, (result_type, has_scores), wish.page, known, &matrices)
    })
    .await;
    let made = made.map_err(|_| Problem::unexplained())?;
    let heads = |heads: &[(&'static str, bool)]| {
        heads.iter().map(|(label, is_number)| Head { label, is_number: *is_number }).collect()
    };
    let end = made.total.saturating_sub(1) / PAGE;
    let page = wish.page.min(end);
    Ok(View {
        project: id.to_string(),
        run: run_id.to_string(),
        caption: match result_type {
            ResultType::Permutations => {
                "Rows are those of the new orders that the parties get, counted from 0."
            }
            _ => "Records are written as dataset: record, both counted from 0.",
        },
        heads: match result_type {
            ResultType::Groups if has_scores => {
                heads(&[("Group", true), ("Records", false), ("Scores", false)])
            }
            ResultType::Groups => heads(&[("Group", true), ("Records", false), ("Lowest similarity", false)]),
            ResultType::SimilarityScores => heads(&[("Pair", true), ("Records", false), ("Score", false)]),
            ResultType::Permutations => heads(&[("Row", true), ("Same person", false)]),
        },
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
    fn of(
        json: &[u8],
        (result_type, has_scores): (ResultType, bool),
        page: u64,
        known: Option<u64>,
        matrices: &[(Blob, usize)],
    ) -> Self {
        let list = list(json);
        let is_flat = result_type == ResultType::Permutations;
        let total = known.unwrap_or_else(|| count(list));
        let page = page.min(total.saturating_sub(1) / PAGE);
        let on_page = elements(list, offset(list, page * PAGE, if is_flat { b"," } else { b"[[" }));
        let rows = (page * PAGE..).zip(&on_page).map(|(at, element)| row(result_type, at, element, matrices));
        let mut rows: Vec<Vec<String>> = rows.collect();
        if has_scores && let Some(list) = scores(json) {
            let within = elements(list, offset(list, page * PAGE, b"[[["));
            for (row, pairs) in rows.iter_mut().zip(&within) {
                row.truncate(2);
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

fn row(result_type: ResultType, at: u64, element: &[u8], matrices: &[(Blob, usize)]) -> Vec<String> {
    let text = |number: &[u8]| String::from_utf8_lossy(number).into_owned();
    let fields: Vec<&[u8]> = numbers(element).collect();
    let (pairs, rest) = fields.as_chunks::<2>();
    let records = || {
        let record = |[dataset, record]: &[&[u8]; 2]| format!("{}:\u{a0}{}", text(dataset), text(record));
        pairs.iter().map(record).collect::<Vec<_>>().join(", ")
    };
    let number = figures::grouped(at);
    match result_type {
        ResultType::Groups => vec![number, records(), least_score(pairs, matrices)],
        ResultType::SimilarityScores => {
            vec![number, records(), rest.first().map_or_else(String::new, |score| text(score))]
        }
        ResultType::Permutations => {
            vec![number, if element == b"1" { "yes".to_owned() } else { "no".to_owned() }]
        }
    }
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
        Made::of(json.as_bytes(), (result_type, json.contains("scores\": [[[[")), page, known, &[])
    }

    #[test]
    fn every_page_of_a_result_has_its_rows() {
        let groups: Vec<String> = (0..120).map(|at| format!("[[0, {at}], [1, {}]]", at + 1)).collect();
        let json = format!("{{\"groups\": [{}]}}", groups.join(", "));
        for (page, count, first) in [
            (0, 50, "0:\u{a0}0, 1:\u{a0}1"),
            (2, 20, "0:\u{a0}100, 1:\u{a0}101"),
            (9, 20, "0:\u{a0}100, 1:\u{a0}101"),
        ] {
            let made = made(&json, ResultType::Groups, page, Some(120));
            assert_eq!((made.rows.len(), made.rows[0][1].as_str()), (count, first), "{page}");
        }

        let pairs: Vec<String> = (0..60).map(|at| format!("[[0, {at}], [1, 7], 0.95]")).collect();
        let within: Vec<String> = (0..120).map(|at| format!("[[[0, {at}], [1, {}], 0.9]]", at + 1)).collect();
        let json = format!("{{\"groups\": [{}], \"scores\": [{}]}}", groups.join(", "), within.join(", "));
        for (page, count, first) in [(0, 50, "0:\u{a0}0, 1:\u{a0}1"), (2, 20, "0:\u{a0}100, 1:\u{a0}101")] {
            let made = made(&json, ResultType::Groups, page, Some(120));
            assert_eq!(
                (made.rows.len(), &made.rows[0][1..]),
                (count, &[first.to_owned(), "0.9".to_owned()][..])
            );
        }
        assert_eq!(
            scores_of(b"[[[0, 6], [1, 8], 1.0], [[0, 6], [2, 9], 0.9], [[1, 8], [2, 9], 0.8]]"),
            "0–1:\u{a0}1.0, 0–2:\u{a0}0.9, 1–2:\u{a0}0.8"
        );

        let json = format!("{{\"similarity_scores\": [{}]}}", pairs.join(","));
        let made_pairs = made(&json, ResultType::SimilarityScores, 1, Some(60));
        assert_eq!(made_pairs.rows[0], ["50", "0:\u{a0}50, 1:\u{a0}7", "0.95"]);

        let json = format!("{{\"mask\": [{}]}}", vec!["1"; 70].join(", "));
        let mask = made(&json, ResultType::Permutations, 1, None);
        assert_eq!((mask.total, mask.rows.len(), mask.rows[0][1].as_str()), (70, 20, "yes"));
        assert_eq!(made("{\"mask\": []}", ResultType::Permutations, 0, None).total, 0);
    }
}
