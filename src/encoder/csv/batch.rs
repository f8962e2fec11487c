//! A batch of rows.

use crate::buffer;

/// The number of bytes of text after which a batch is full.
const TEXT_BYTES: usize = 4 << 20;

/// Rows, concatenated in one text.
#[derive(Debug, Default)]
pub struct Batch {
    text: String,
    /// The start and the exclusive end of each field in the text.
    fields: Vec<(usize, usize)>,
    /// The start of the field that has not ended.
    open: usize,
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

    /// Returns whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns row `at`.
    pub fn row(&self, at: usize) -> Row<'_> {
        Row { batch: self, bounds: self.rows[at] }
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        buffer::clear_text(&mut self.text);
        self.fields.clear();
        self.open = 0;
        self.rows.clear();
    }

    pub(super) fn is_full(&self, rows: usize) -> bool {
        self.rows.len() >= rows || self.text.len() >= TEXT_BYTES
    }

    pub(super) fn push_text(&mut self, text: &str) {
        buffer::reserve_text(&mut self.text, text.len());
        self.text.push_str(text);
    }

    /// The field that has not ended.
    pub(super) fn open_field(&self) -> &str {
        &self.text[self.open..]
    }

    pub(super) fn end_field(&mut self) {
        self.fields.push((self.open, self.text.len()));
        self.open = self.text.len();
    }

    /// The number of fields of the row that has not ended.
    pub(super) fn open_row_fields(&self) -> usize {
        self.fields.len() - self.rows.last().map_or(0, |row| row.end)
    }

    pub(super) fn end_row(&mut self, line: u64) {
        let first = self.rows.last().map_or(0, |row| row.end);
        self.rows.push(Bounds { first, end: self.fields.len(), line });
    }

    /// Adds a field. [`push_rows`](Self::push_rows) will add its text.
    pub(super) fn push_field(&mut self, start: usize, end: usize) {
        self.fields.push((self.open + start, self.open + end));
    }

    /// Removes the fields after the last row.
    pub(super) fn drop_fields(&mut self) {
        self.fields.truncate(self.rows.last().map_or(0, |row| row.end));
    }

    /// Adds the text of rows whose fields were added before.
    pub(super) fn push_rows(&mut self, text: &str) {
        self.push_text(text);
        self.open = self.text.len();
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

    /// Returns field `at`.
    #[inline]
    pub fn field(self, at: usize) -> &'a str {
        let (start, end) = self.batch.fields[self.bounds.first + at];
        &self.batch.text[start..end]
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
        buffer::clear_text(&mut self.text);
    }
}
