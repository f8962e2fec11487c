//! A batch of rows.

use zeroize::Zeroize;

/// Bytes of text after which a batch is full.
const TEXT_BYTES: usize = 4 << 20;

/// Rows, one after the other in one text.
#[derive(Debug, Default)]
pub struct Batch {
    text: String,
    /// The end of each field in the text.
    ends: Vec<usize>,
    rows: Vec<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: usize,
    end: usize,
    line: u64,
}

/// A row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    batch: &'a Batch,
    bounds: Bounds,
}

impl Batch {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row `at`.
    pub fn row(&self, at: usize) -> Row<'_> {
        Row { batch: self, bounds: self.rows[at] }
    }

    /// Takes all rows out.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.rows.clear();
    }

    pub(super) fn is_full(&self, rows: usize) -> bool {
        self.rows.len() >= rows || self.text.len() >= TEXT_BYTES
    }

    pub(super) fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The field that has not ended.
    pub(super) fn open_field(&self) -> &str {
        &self.text[self.ends.last().copied().unwrap_or(0)..]
    }

    pub(super) fn end_field(&mut self) {
        self.ends.push(self.text.len());
    }

    pub(super) fn end_row(&mut self, line: u64) {
        let first = self.rows.last().map_or(0, |row| row.end);
        self.rows.push(Bounds { first, end: self.ends.len(), line });
    }
}

impl<'a> Row<'a> {
    /// The number of fields.
    pub const fn len(self) -> usize {
        self.bounds.end - self.bounds.first
    }

    /// Returns whether the row is an empty line.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Field `at`.
    pub fn field(self, at: usize) -> &'a str {
        let at = self.bounds.first + at;
        let start = if at == 0 { 0 } else { self.batch.ends[at - 1] };
        &self.batch.text[start..self.batch.ends[at]]
    }

    /// The fields.
    pub fn fields(self) -> impl ExactSizeIterator<Item = &'a str> {
        (0..self.len()).map(move |at| self.field(at))
    }

    /// The line in which the row begins, from 1.
    pub const fn line(self) -> u64 {
        self.bounds.line
    }
}

/// The text is personal data.
impl Drop for Batch {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}
