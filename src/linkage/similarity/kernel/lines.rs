//! Memory in cache lines, so that a vector never straddles two of them.

/// A cache line of words.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(in crate::similarity) struct Line(pub [u64; 8]);

impl Line {
    pub(super) fn of(bytes: &[u8; 64]) -> Self {
        let words = bytes.as_chunks::<8>().0;
        Self(std::array::from_fn(|word| u64::from_le_bytes(words[word])))
    }
}

/// A cache line of bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(in crate::similarity) struct Bytes(pub [u8; 64]);

/// Rows of bits, each padded with zeros to whole lines.
#[derive(Clone, Debug, Default)]
pub(in crate::similarity) struct Words {
    lines: Vec<Line>,
    lines_per_row: usize,
}

impl Words {
    /// Returns an empty list of rows of `row_bytes` bytes each, with room for `rows`.
    pub(in crate::similarity) fn with_capacity(rows: usize, row_bytes: usize) -> Self {
        let lines_per_row = row_bytes.div_ceil(64);
        Self { lines: Vec::with_capacity(rows * lines_per_row), lines_per_row }
    }

    /// Appends a row.
    pub(in crate::similarity) fn push(&mut self, row: &[u8]) {
        debug_assert_eq!(row.len().div_ceil(64), self.lines_per_row);
        let (whole, rest) = row.as_chunks::<64>();
        self.lines.extend(whole.iter().map(Line::of));
        if !rest.is_empty() {
            let mut padded = [0; 64];
            padded[..rest.len()].copy_from_slice(rest);
            self.lines.push(Line::of(&padded));
        }
    }

    /// Appends a row of another list of words.
    pub(in crate::similarity) fn push_lines(&mut self, row: &[Line]) {
        debug_assert_eq!(row.len(), self.lines_per_row);
        self.lines.extend_from_slice(row);
    }

    /// Returns the bytes of memory that the rows occupy.
    pub(in crate::similarity) fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    pub(in crate::similarity) fn lines_per_row(&self) -> usize {
        self.lines_per_row
    }

    pub(in crate::similarity) fn rows(&self) -> usize {
        self.lines.len().checked_div(self.lines_per_row).unwrap_or(0)
    }

    pub(in crate::similarity) fn row(&self, row: u32) -> &[Line] {
        let start = row as usize * self.lines_per_row;
        &self.lines[start..start + self.lines_per_row]
    }
}
