//! Results in other formats than JSON: comma-separated values, one JSON value per line, and Arrow. The stored JSON is
//! converted while it is sent.

use axum::BoxError;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::arrow::{self, Head, Kind, Misfit, Table, Value};
use crate::model::ResultType;
use crate::telemetry::chain;

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultForm {
    /// The stored JSON.
    Json,
    /// CSV (RFC 4180) with a header line.
    Csv,
    /// The elements of the result's array, one per line.
    Ndjson,
    /// The stream format of Apache Arrow, with the columns of the CSV.
    Arrow,
}

impl ResultForm {
    /// Returns the format that a client prefers; JSON, unless it prefers another one.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
        let mut best = (Self::Json, 0.0);
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let form = match media.as_str() {
                "text/csv" => Self::Csv,
                "application/x-ndjson" => Self::Ndjson,
                arrow::MEDIA_TYPE => Self::Arrow,
                "application/json" | "application/*" | "*/*" => Self::Json,
                _ => continue,
            };
            // JSON is returned for equal preferences, since clients of the reference service expect it.
            if quality > best.1 || (form == Self::Json && quality >= best.1 && quality > 0.0) {
                best = (form, quality);
            }
        }
        best.0
    }

    /// Returns the media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => arrow::MEDIA_TYPE,
        }
    }
}

/// The meaning of the elements of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Groups of records, each with its dataset.
    Groups,
    /// Two records and their score.
    Scores,
    /// For each group the pairs within it: two records and their score.
    GroupScores,
    /// The bits of a mask.
    Mask,
    /// The new positions of records.
    Permutation,
}

impl Content {
    /// Returns the content of a result of this type.
    pub(super) const fn of(result_type: ResultType, is_partys: bool) -> Self {
        match (result_type, is_partys) {
            (ResultType::Groups, _) => Self::Groups,
            (ResultType::SimilarityScores, _) => Self::Scores,
            (ResultType::Permutations, false) => Self::Mask,
            (ResultType::Permutations, true) => Self::Permutation,
        }
    }

    /// Returns the columns of a table of these elements.
    const fn columns(self) -> &'static [Head] {
        const GROUP: Head = ("group", Kind::UInt64);
        const PAIR: [Head; 5] = [
            ("dataset_a", Kind::UInt32),
            ("record_a", Kind::UInt32),
            ("dataset_b", Kind::UInt32),
            ("record_b", Kind::UInt32),
            ("score", Kind::Float64),
        ];
        match self {
            Self::Groups => &[GROUP, ("dataset", Kind::UInt32), ("record", Kind::UInt32)],
            Self::Scores => &PAIR,
            Self::GroupScores => &[GROUP, PAIR[0], PAIR[1], PAIR[2], PAIR[3], PAIR[4]],
            Self::Mask => &[("row", Kind::UInt32), ("match", Kind::Bool)],
            Self::Permutation => &[("row", Kind::UInt32), ("new_row", Kind::UInt32)],
        }
    }
}

/// The reason why a result cannot be converted.
#[derive(Debug, thiserror::Error)]
enum Unconverted {
    #[error("the stored result ends in the middle")]
    Truncated,
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// Converts a stored result while it streams. After an error, the stream ends without the marks of its format.
pub(super) fn converted<E: Into<BoxError> + Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    form: ResultForm,
    content: Content,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    let mut out = Vec::new();
    let writer = Writer::begin(form, content, &mut out);
    let elements = if content == Content::GroupScores { Elements::of_second() } else { Elements::default() };
    stream::unfold(Some((chunks, elements, writer, out)), |state| async move {
        let (mut chunks, mut elements, mut writer, mut out) = state?;
        loop {
            let chunk = match chunks.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some((Err(error.into()), None)),
                None if elements.is_over => {
                    writer.end(&mut out);
                    return (!out.is_empty()).then(|| (Ok(Bytes::from(out)), None));
                }
                None => return Some((Err(failed(Unconverted::Truncated)), None)),
            };
            let mut written = Ok(());
            elements.read(&chunk, |element| {
                if written.is_ok() {
                    written = writer.write(element, &mut out);
                }
            });
            if let Err(misfit) = written {
                return Some((Err(failed(misfit.into())), None));
            }
            if !out.is_empty() {
                let piece = Bytes::from(std::mem::take(&mut out));
                return Some((Ok(piece), Some((chunks, elements, writer, out))));
            }
        }
    })
}

/// Logs an error of the conversion.
fn failed(error: Unconverted) -> BoxError {
    tracing::error!("converting a result failed: {}", chain(&error));
    error.into()
}

/// Writes elements in the requested format.
struct Writer {
    form: ResultForm,
    content: Content,
    elements: u64,
    /// The table of an Arrow stream.
    table: Option<Table>,
}

impl Writer {
    fn begin(form: ResultForm, content: Content, out: &mut Vec<u8>) -> Self {
        let columns = content.columns();
        if form == ResultForm::Csv {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            out.extend_from_slice(names.join(",").as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let table = (form == ResultForm::Arrow).then(|| Table::begin(columns, out));
        Self { form, content, elements: 0, table }
    }

    fn write(&mut self, element: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        let number = self.elements;
        self.elements += 1;
        if self.form == ResultForm::Ndjson {
            out.extend_from_slice(element);
            out.push(b'\n');
            return Ok(());
        }
        let fields: Vec<&[u8]> = numbers(element).collect();
        match self.content {
            Content::Groups => {
                fields.chunks_exact(2).try_for_each(|record| self.row(Some(number), record, out))
            }
            Content::Scores => self.row(None, &fields, out),
            Content::GroupScores => {
                fields.chunks_exact(5).try_for_each(|pair| self.row(Some(number), pair, out))
            }
            Content::Mask | Content::Permutation => self.row(Some(number), &fields, out),
        }
    }

    /// Writes a row: `first`, if there is one, and the numbers of an element.
    fn row(&mut self, first: Option<u64>, fields: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Misfit> {
        if let Some(table) = &mut self.table {
            return table.row(
                first.map(Value::Number).into_iter().chain(fields.iter().map(|field| value(field))),
                out,
            );
        }
        let first = first.map(|number| number.to_string());
        let first = first.as_deref().map(str::as_bytes);
        for (at, field) in first.iter().chain(fields).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(field);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn end(self, out: &mut Vec<u8>) {
        if let Some(table) = self.table {
            table.end(out);
        }
    }
}

/// Returns the value of a number in JSON. Scores have a point or an exponent, and other numbers do not. A text that is
/// not a number becomes null, which fits into no column of a result.
fn value(number: &[u8]) -> Value {
    let text = std::str::from_utf8(number).unwrap_or_default();
    let parsed = text.parse().map(Value::Number).or_else(|_| text.parse().map(Value::Score));
    parsed.unwrap_or(Value::Text(None))
}

/// Returns the numbers in a JSON text, as they are written.
pub(super) fn numbers(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    json.split(|byte| matches!(byte, b'[' | b']' | b',' | b' ')).filter(|number| !number.is_empty())
}

/// Finds the elements of the array in a stored result such as `{"groups": [[[0, 1], [1, 2]]]}`.
#[derive(Default)]
pub(super) struct Elements {
    depth: usize,
    /// True after the end of the array.
    is_over: bool,
    /// Set while the array is skipped, because the next one is wanted.
    is_skipped: bool,
    element: Vec<u8>,
}

impl Elements {
    /// Returns the state within the array.
    pub(super) fn within() -> Self {
        Self { depth: 1, ..Self::default() }
    }

    /// Returns the state before the first of two arrays, which finds the elements of the second.
    fn of_second() -> Self {
        Self { is_skipped: true, ..Self::default() }
    }

    /// Reads a piece, and calls `each` with every element that ends in it.
    pub(super) fn read(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) {
        for &byte in piece {
            if self.is_over {
                return;
            }
            match byte {
                b'[' => {
                    self.depth += 1;
                    if self.depth > 1 {
                        self.element.push(byte);
                    }
                }
                b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.end(&mut each);
                        self.is_over = !std::mem::take(&mut self.is_skipped);
                    } else {
                        self.element.push(byte);
                    }
                }
                b',' if self.depth == 1 => self.end(&mut each),
                b' ' | b'\n' if self.depth <= 1 => {}
                _ if self.depth == 0 => {}
                _ => self.element.push(byte),
            }
        }
    }

    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        if !self.element.is_empty() && !self.is_skipped {
            each(&self.element);
        }
        self.element.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn made(json: &str, form: ResultForm, content: Content, piece: usize) -> String {
        let pieces: Vec<_> =
            json.as_bytes().chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let converted = converted::<Infallible>(stream::iter(pieces), form, content);
        let whole: Vec<Result<Bytes, BoxError>> = converted.collect().await;
        whole.into_iter().map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_result_has_lines_wherever_its_pieces_end() {
        for piece in [1, 2, 7, 1_000] {
            for (json, content, csv, ndjson) in [
                (
                    r#"{"groups": [[[0, 5], [1, 7]], [[0, 6], [1, 8], [2, 9]]]}"#,
                    Content::Groups,
                    "group,dataset,record\r\n0,0,5\r\n0,1,7\r\n1,0,6\r\n1,1,8\r\n1,2,9\r\n",
                    "[[0, 5], [1, 7]]\n[[0, 6], [1, 8], [2, 9]]\n",
                ),
                (
                    r#"{"similarity_scores": [[[0, 1], [1, 2], 0.9500000000000001]]}"#,
                    Content::Scores,
                    "dataset_a,record_a,dataset_b,record_b,score\r\n0,1,1,2,0.9500000000000001\r\n",
                    "[[0, 1], [1, 2], 0.9500000000000001]\n",
                ),
                (r#"{"mask": [1,0]}"#, Content::Mask, "row,match\r\n0,1\r\n1,0\r\n", "1\n0\n"),
                (
                    r#"{"permutation": [2, 0, 1], "rows": 3}"#,
                    Content::Permutation,
                    "row,new_row\r\n0,2\r\n1,0\r\n2,1\r\n",
                    "2\n0\n1\n",
                ),
                (r#"{"groups": []}"#, Content::Groups, "group,dataset,record\r\n", ""),
                (
                    r#"{"groups": [[[0, 6], [1, 8], [2, 9]], [[0, 7], [1, 1]]], "scores": [[[[0, 6], [1, 8], 1.0], [[0, 6], [2, 9], 0.9]], [[[0, 7], [1, 1], 0.8]]]}"#,
                    Content::GroupScores,
                    "group,dataset_a,record_a,dataset_b,record_b,score\r\n0,0,6,1,8,1.0\r\n0,0,6,2,9,0.9\r\n1,0,7,1,1,0.8\r\n",
                    "[[[0, 6], [1, 8], 1.0], [[0, 6], [2, 9], 0.9]]\n[[[0, 7], [1, 1], 0.8]]\n",
                ),
                (
                    r#"{"groups": [], "scores": []}"#,
                    Content::GroupScores,
                    "group,dataset_a,record_a,dataset_b,record_b,score\r\n",
                    "",
                ),
            ] {
                assert_eq!(made(json, ResultForm::Csv, content, piece).await, csv);
                assert_eq!(made(json, ResultForm::Ndjson, content, piece).await, ndjson);
            }
        }
    }

    /// Returns what is sent before an error, and the error.
    async fn failing(json: &str, fault: Option<&'static str>, form: ResultForm) -> (Vec<u8>, Option<String>) {
        let pieces = [Ok(Bytes::copy_from_slice(json.as_bytes()))].into_iter().chain(fault.map(Err));
        let pieces: Vec<Result<Bytes, &'static str>> = pieces.collect();
        let mut converted = Box::pin(converted(stream::iter(pieces), form, Content::Permutation));
        let mut sent = Vec::new();
        while let Some(piece) = converted.next().await {
            match piece {
                Ok(piece) => sent.extend_from_slice(&piece),
                Err(error) => {
                    assert!(converted.next().await.is_none());
                    return (sent, Some(error.to_string()));
                }
            }
        }
        (sent, None)
    }

    #[tokio::test]
    async fn a_result_that_fails_has_no_end() {
        const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let is_ended = |sent: &[u8]| sent.ends_with(&END);
        let whole = r#"{"permutation": [2, 0, 1], "rows": 3}"#;
        let (sent, fault) = failing(whole, None, ResultForm::Arrow).await;
        assert!(is_ended(&sent) && fault.is_none());
        for form in [ResultForm::Csv, ResultForm::Ndjson, ResultForm::Arrow] {
            for (json, fault, said) in [
                (whole, Some("the disk is gone"), "the disk is gone"),
                (&whole[..20], None, "the stored result ends in the middle"),
                ("", None, "the stored result ends in the middle"),
            ] {
                let (sent, found) = failing(json, fault, form).await;
                assert!(!is_ended(&sent), "{form:?}");
                assert_eq!(found.as_deref(), Some(said));
            }
        }
        for json in [r#"{"permutation": [4294967296]}"#, r#"{"permutation": [x]}"#] {
            let (sent, found) = failing(json, None, ResultForm::Arrow).await;
            assert!(!is_ended(&sent));
            assert_eq!(found.as_deref(), Some("a value does not fit into the column new_row"));
        }
    }

    #[test]
    fn json_stays_the_usual_form() {
        let asked = |accept: &str| {
            ResultForm::asked(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]))
        };
        for usual in
            ["*/*", "application/json", "text/html,*/*;q=0.8", "text/csv;q=0.5,*/*", "text/csv, */*", ""]
        {
            assert_eq!(asked(usual), ResultForm::Json, "{usual}");
        }
        assert_eq!(ResultForm::asked(&HeaderMap::new()), ResultForm::Json);
        assert_eq!(asked("text/csv"), ResultForm::Csv);
        assert_eq!(asked("Text/CSV, */*;q=0.1"), ResultForm::Csv);
        assert_eq!(asked("application/x-ndjson; q=1.0"), ResultForm::Ndjson);
        assert_eq!(asked("application/vnd.apache.arrow.stream, text/csv;q=0.9"), ResultForm::Arrow);
    }
}
