//! Results in other formats than JSON: comma-separated values, and one JSON value per line. The stored JSON is
//! converted while it is sent.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::model::ResultType;

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultForm {
    /// The stored JSON.
    Json,
    /// CSV (RFC 4180) with a header line.
    Csv,
    /// The elements of the result's array, one per line.
    Ndjson,
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

    const fn names(self) -> &'static str {
        match self {
            Self::Groups => "group,dataset,record\r\n",
            Self::Scores => "dataset_a,record_a,dataset_b,record_b,score\r\n",
            Self::GroupScores => "group,dataset_a,record_a,dataset_b,record_b,score\r\n",
            Self::Mask => "row,match\r\n",
            Self::Permutation => "row,new_row\r\n",
        }
    }
}

/// Converts a stored result while it streams.
pub(super) fn converted<E: Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    form: ResultForm,
    content: Content,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    let begin = if form == ResultForm::Csv { content.names() } else { "" };
    let writer = Writer { form, content, elements: 0 };
    let elements = if content == Content::GroupScores { Elements::of_second() } else { Elements::default() };
    let state = (chunks, elements, writer, Vec::from(begin));
    stream::unfold(state, |(mut chunks, mut elements, mut writer, mut out)| async move {
        loop {
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    elements.read(&chunk, |element| writer.write(element, &mut out));
                    if !out.is_empty() {
                        let piece = Bytes::from(std::mem::take(&mut out));
                        return Some((Ok(piece), (chunks, elements, writer, out)));
                    }
                }
                Some(Err(error)) => return Some((Err(error), (chunks, elements, writer, out))),
                None if out.is_empty() => return None,
                None => {
                    let piece = Bytes::from(std::mem::take(&mut out));
                    return Some((Ok(piece), (chunks, elements, writer, out)));
                }
            }
        }
    })
}

/// Writes elements in the requested format.
struct Writer {
    form: ResultForm,
    content: Content,
    elements: u64,
}

impl Writer {
    fn write(&mut self, element: &[u8], out: &mut Vec<u8>) {
        let number = self.elements.to_string();
        self.elements += 1;
        if self.form == ResultForm::Ndjson {
            out.extend_from_slice(element);
            out.push(b'\n');
            return;
        }
        let mut line = |first: Option<&str>, fields: &[&[u8]]| {
            let first = first.map(str::as_bytes);
            for (at, field) in first.iter().chain(fields).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(field);
            }
            out.extend_from_slice(b"\r\n");
        };
        let fields: Vec<&[u8]> = numbers(element).collect();
        match self.content {
            Content::Groups => fields.chunks_exact(2).for_each(|record| line(Some(&number), record)),
            Content::Scores => line(None, &fields),
            Content::GroupScores => fields.chunks_exact(5).for_each(|pair| line(Some(&number), pair)),
            Content::Mask | Content::Permutation => line(Some(&number), &fields),
        }
    }
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
        let converted = converted(stream::iter(pieces), form, content);
        let whole: Vec<Result<Bytes, Infallible>> = converted.collect().await;
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
    }
}
