//! An index in memory, or mapped into it.

use std::ops::Range;

use super::super::block::Digest;
use super::directory::{Ascending, Block};
use super::header::{BLOCK_BYTES, CHUNK_BYTES, HEADER_BYTES, Header, INDEX};
use super::{Damage, Span};

/// An index, read in place.
#[derive(Clone, Copy)]
pub struct Index<'a> {
    header: Header,
    sums: &'a [u8],
    directory: &'a [[u8; BLOCK_BYTES]],
    ids: &'a [[u8; 4]],
}

impl<'a> Index<'a> {
    /// Parses `bytes`, and checks all of them: checksums, order and ranges. O(length).
    ///
    /// # Errors
    /// [`Damage`]. Never panics, for any bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        let length = |expected| Damage::Length { object: INDEX, expected, found: bytes.len() as u64 };
        let header = bytes.first_chunk().ok_or_else(|| length(HEADER_BYTES as u64))?;
        let index = Self::reopen(Header::from_bytes(header)?, bytes)?;
        index.check_sums()?;
        index.check_blocks()?;
        Ok(index)
    }

    /// Returns the index in `bytes`, which [`Index::parse`] has checked before and which has this `header`. O(1).
    ///
    /// # Errors
    /// [`Damage::Length`]
    pub fn reopen(header: Header, bytes: &'a [u8]) -> Result<Self, Damage> {
        let found = bytes.len() as u64;
        let damage = |expected| Damage::Length { object: INDEX, expected, found };
        let (Some(ids_at), Some(expected)) = (header.ids_at(), header.index_bytes()) else {
            return Err(damage(u64::MAX));
        };
        if found != expected {
            return Err(damage(expected));
        }
        let (sums, rest) = bytes[HEADER_BYTES..].split_at((header.chunks() * 4) as usize);
        let (directory, ids) = rest.split_at((ids_at - header.directory_at()) as usize);
        Ok(Self { header, sums, directory: directory.as_chunks().0, ids: ids.as_chunks().0 })
    }

    fn check_sums(&self) -> Result<(), Damage> {
        for (section, bytes, crc) in [
            ("chunk sums", self.sums, self.header.sums_crc),
            ("directory", self.directory.as_flattened(), self.header.directory_crc),
            ("record ids", self.ids.as_flattened(), self.header.ids_crc),
        ] {
            if crc32fast::hash(bytes) != crc {
                return Err(Damage::Sum { object: INDEX, section });
            }
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), Damage> {
        let mut ascending = Ascending::default();
        for bytes in self.directory {
            let block = Block::from_bytes(bytes, &self.header)?;
            ascending.check(&block.digest)?;
            let rows = self.rows(block.span)?;
            if rows.is_listed() && !rows.iter().is_sorted_by(|a, b| a < b) {
                return Err(Damage::Contradiction { object: INDEX, what: "records out of order" });
            }
            if rows.iter().next_back().is_some_and(|last| last >= self.header.records) {
                return Err(Damage::Contradiction { object: INDEX, what: "a record that does not exist" });
            }
        }
        Ok(())
    }

    /// Returns the header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the blocks, ascending by digest.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block> + 'a {
        let header = self.header;
        let checked = |block: Result<Block, Damage>| block.expect("blocks were checked when it was parsed");
        self.directory.iter().map(move |bytes| checked(Block::from_bytes(bytes, &header)))
    }

    /// Returns the block with this digest.
    pub fn block(&self, digest: &Digest) -> Option<Block> {
        let at = self.directory.binary_search_by(|bytes| bytes[..32].cmp(digest)).ok()?;
        Block::from_bytes(&self.directory[at], &self.header).ok()
    }

    /// Returns the rows of `span`.
    ///
    /// # Errors
    /// [`Damage::Contradiction`] if `span` reaches beyond this index.
    pub fn rows(&self, span: Span) -> Result<RowIds<'a>, Damage> {
        let rows = match span {
            Span::Rows { first, count } => {
                let stop = first.checked_add(count).filter(|&stop| stop <= self.header.records);
                stop.map(|stop| RowIds::Dense(first..stop))
            }
            Span::Ids { first, count } => {
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                let stop = first.saturating_add(count as usize);
                self.ids.get(first..stop).map(RowIds::Listed)
            }
        };
        rows.ok_or(Damage::Contradiction { object: INDEX, what: "a block reaches beyond the last record" })
    }

    /// Checks the chunks of `matrix` (the whole of it) in which `rows` lie; each has [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// [`Damage::Matrix`] names the chunk; [`Damage::Length`] if the matrix has a wrong length.
    pub fn verify_rows(&self, matrix: &[u8], rows: Range<u32>) -> Result<(), Damage> {
        let (expected, found) = (self.header.matrix_bytes(), matrix.len() as u64);
        if found != expected {
            return Err(Damage::Length { object: "matrix", expected, found });
        }
        for chunk in self.chunks_of(rows) {
            let start = (chunk * CHUNK_BYTES) as usize;
            let stop = matrix.len().min(start + CHUNK_BYTES as usize);
            self.verify_chunk(chunk, &matrix[start..stop])?;
        }
        Ok(())
    }

    /// Returns the chunks of the matrix in which `rows` lie. All rows must exist.
    pub fn chunks_of(&self, rows: Range<u32>) -> Range<u64> {
        if rows.is_empty() {
            return 0..0;
        }
        let row_bytes = u64::from(self.header.encoding_bytes);
        let (start, stop) = (u64::from(rows.start) * row_bytes, u64::from(rows.end) * row_bytes);
        start / CHUNK_BYTES..stop.div_ceil(CHUNK_BYTES)
    }

    /// Checks the chunk number `chunk` of the matrix.
    ///
    /// # Errors
    /// [`Damage::Matrix`]
    pub fn verify_chunk(&self, chunk: u64, bytes: &[u8]) -> Result<(), Damage> {
        let start = chunk.saturating_mul(CHUNK_BYTES);
        let stop = self.header.matrix_bytes().min(start.saturating_add(CHUNK_BYTES));
        let sums = self.sums.as_chunks::<4>().0;
        let sum = usize::try_from(chunk).ok().and_then(|chunk| sums.get(chunk));
        if sum.is_none_or(|sum| crc32fast::hash(bytes) != u32::from_le_bytes(*sum)) {
            return Err(Damage::Matrix { start, stop });
        }
        Ok(())
    }
}

/// Rows of the matrix, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowIds<'a> {
    /// Consecutive rows.
    Dense(Range<u32>),
    /// A list of rows by their ids, u32 little-endian.
    Listed(&'a [[u8; 4]]),
}

impl RowIds<'_> {
    /// Returns the number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.len(),
            Self::Listed(ids) => ids.len(),
        }
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn is_listed(&self) -> bool {
        matches!(self, Self::Listed(_))
    }

    /// Returns the `position`-th row, which must exist.
    pub fn get(&self, position: usize) -> u32 {
        match self {
            Self::Dense(rows) => rows.start + position as u32,
            Self::Listed(ids) => u32::from_le_bytes(ids[position]),
        }
    }

    /// Iterates over the ids.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        (0..self.len()).map(|position| self.get(position))
    }
}
