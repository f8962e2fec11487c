//! Records of one dataset, as a view of its matrix.

use std::ops::Range;

use super::Error;

/// Rows of a matrix: a range of records, or listed ones. Borrows both; copying is free.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    matrix: &'a [u8],
    encoding_bytes: usize,
    selection: Selection<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Selection<'a> {
    Range {
        start: u32,
        count: usize,
    },
    /// Record ids, u32 little-endian.
    Listed(&'a [u8]),
}

impl<'a> Rows<'a> {
    /// Returns the records in `range` of a row-major matrix with `encoding_bytes` bytes in each row.
    ///
    /// # Errors
    /// [`Error::NoSuchRecord`] if the range ends beyond the matrix, [`Error::Malformed`] if the matrix
    /// does not consist of whole rows.
    pub fn range(matrix: &'a [u8], encoding_bytes: usize, range: Range<u32>) -> Result<Self, Error> {
        let records = whole_rows(matrix, encoding_bytes)?;
        if range.end as usize > records {
            return Err(Error::NoSuchRecord { record: range.end - 1, records });
        }
        let selection = Selection::Range { start: range.start, count: range.len() };
        Ok(Self { matrix, encoding_bytes, selection })
    }

    /// Returns every record of a matrix.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the matrix does not consist of whole rows.
    pub fn all(matrix: &'a [u8], encoding_bytes: usize) -> Result<Self, Error> {
        let count = whole_rows(matrix, encoding_bytes)?;
        Ok(Self { matrix, encoding_bytes, selection: Selection::Range { start: 0, count } })
    }

    /// Returns the records listed in `ids`, four little-endian bytes each. Checks each id once.
    ///
    /// # Errors
    /// [`Error::NoSuchRecord`] for an id beyond the matrix, [`Error::Malformed`] if the matrix does not
    /// consist of whole rows or the list of whole ids.
    pub fn listed(matrix: &'a [u8], encoding_bytes: usize, ids: &'a [u8]) -> Result<Self, Error> {
        let records = whole_rows(matrix, encoding_bytes)?;
        let (ids_whole, rest) = ids.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Error::Malformed("a list of records is truncated"));
        }
        match ids_whole.iter().map(|id| u32::from_le_bytes(*id)).find(|id| *id as usize >= records) {
            Some(record) => Err(Error::NoSuchRecord { record, records }),
            None => Ok(Self { matrix, encoding_bytes, selection: Selection::Listed(ids) }),
        }
    }

    /// Returns something from the beginnings of the first `count` rows, which are then in the processor's cache. The cache
    /// misses of calls that follow one another overlap. The processor itself fetches the rest of a long row.
    pub(super) fn touch(&self, count: usize) -> u8 {
        const LINE: usize = 64;
        const LINES: usize = 4;
        let lines = |row| self.bytes(row).iter().step_by(LINE).take(LINES);
        (0..self.len().min(count)).flat_map(lines).fold(0, |sum, byte| sum ^ byte)
    }

    /// Returns up to `count` encodings, evenly spread over the whole matrix.
    pub(super) fn sample(&self, count: usize) -> Vec<u8> {
        let records = self.records();
        let taken = records.min(count);
        let start = |at: usize| at * records / taken * self.encoding_bytes;
        (0..taken).flat_map(|at| &self.matrix[start(at)..start(at) + self.encoding_bytes]).copied().collect()
    }

    /// Returns the number of records of the whole matrix.
    pub(super) const fn records(&self) -> usize {
        self.matrix.len() / self.encoding_bytes
    }

    /// Returns the number of rows.
    pub const fn len(&self) -> usize {
        match self.selection {
            Selection::Range { count, .. } => count,
            Selection::Listed(ids) => ids.len() / 4,
        }
    }

    /// Returns true if there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of bytes in each row.
    pub const fn encoding_bytes(&self) -> usize {
        self.encoding_bytes
    }

    /// Returns the record of the first row, if the rows are a range of records.
    pub(super) const fn first_of_range(&self) -> Option<u32> {
        match self.selection {
            Selection::Range { start, .. } => Some(start),
            Selection::Listed(_) => None,
        }
    }

    /// Returns a range of these rows.
    ///
    /// # Panics
    /// If the range ends beyond the last row.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        let selection = match self.selection {
            Selection::Range { start, count } => {
                assert!(rows.start <= rows.end && rows.end <= count, "rows {rows:?} of {count}");
                Selection::Range { start: start + rows.start as u32, count: rows.len() }
            }
            Selection::Listed(ids) => Selection::Listed(&ids[4 * rows.start..4 * rows.end]),
        };
        Self { selection, ..*self }
    }

    /// Returns the record of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn record(&self, row: usize) -> u32 {
        match self.selection {
            Selection::Range { start, count } => {
                assert!(row < count, "row {row} of {count}");
                start + row as u32
            }
            Selection::Listed(ids) => u32::from_le_bytes(ids.as_chunks().0[row]),
        }
    }

    /// Returns the bytes of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        let start = self.record(row) as usize * self.encoding_bytes;
        &self.matrix[start..start + self.encoding_bytes]
    }
}

fn whole_rows(matrix: &[u8], encoding_bytes: usize) -> Result<usize, Error> {
    match matrix.len().checked_div(encoding_bytes) {
        Some(records) if records * encoding_bytes == matrix.len() => Ok(records),
        _ => Err(Error::Malformed("a matrix does not consist of whole rows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_a_range_or_a_list() {
        let matrix: Vec<u8> = (0..12).collect();
        let range = Rows::range(&matrix, 3, 1..3).unwrap();
        assert_eq!((range.len(), range.record(1), range.bytes(1)), (2, 2, &matrix[6..9]));
        let listed = Rows::listed(&matrix, 3, &[3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((listed.len(), listed.record(0), listed.bytes(1)), (2, 3, &matrix[..3]));
    }

    #[test]
    fn records_beyond_the_matrix_and_torn_bytes_are_refused() {
        let matrix = [0; 12];
        assert!(matches!(Rows::range(&matrix, 3, 1..5), Err(Error::NoSuchRecord { record: 4, records: 4 })));
        assert!(matches!(Rows::listed(&matrix, 3, &[4, 0, 0, 0]), Err(Error::NoSuchRecord { .. })));
        assert!(matches!(Rows::listed(&matrix, 3, &[1, 0, 0]), Err(Error::Malformed(_))));
        assert!(matches!(Rows::all(&matrix, 5), Err(Error::Malformed(_))));
        assert!(matches!(Rows::all(&matrix, 0), Err(Error::Malformed(_))));
        assert!(Rows::range(&matrix, 3, 4..4).unwrap().is_empty());
    }
}
