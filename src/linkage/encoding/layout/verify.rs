//! Verifies a matrix chunk by chunk, each chunk once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::header::CHUNK_BYTES;
use super::{Damage, Header, Index, RowIds, Span};

/// The chunks of a matrix that have been verified. Threads share it, and it is kept as long as the matrix.
#[derive(Debug)]
pub struct Verified(Box<[AtomicBool]>);

impl Verified {
    /// Returns the state for a matrix whose index has this `header`, with no chunk verified.
    pub fn nothing(header: &Header) -> Self {
        Self((0..header.chunks()).map(|_| AtomicBool::new(false)).collect())
    }

    /// Verifies the chunks of `matrix` (the whole of it) in which the rows of `span` lie, unless they were verified
    /// before.
    ///
    /// # Errors
    /// [`Damage`] of the matrix, or if `span` reaches beyond the index.
    pub fn check(&self, index: &Index<'_>, matrix: &[u8], span: Span) -> Result<(), Damage> {
        match index.rows(span)? {
            RowIds::Dense(rows) => {
                index.chunks_of(rows).try_for_each(|chunk| self.check_chunk(index, matrix, chunk))
            }
            rows @ RowIds::Listed(_) => rows.iter().try_for_each(|row| {
                let mut chunks = index.chunks_of(row..row.saturating_add(1));
                chunks.try_for_each(|chunk| self.check_chunk(index, matrix, chunk))
            }),
        }
    }

    fn check_chunk(&self, index: &Index<'_>, matrix: &[u8], chunk: u64) -> Result<(), Damage> {
        // Two threads may both verify the chunk, which is harmless: only the flag is published.
        let seen = self.0.get(chunk as usize);
        if seen.is_some_and(|seen| seen.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let start = (chunk * CHUNK_BYTES) as usize;
        let stop = matrix.len().min(start + CHUNK_BYTES as usize);
        index.verify_chunk(chunk, matrix.get(start..stop).unwrap_or_default())?;
        if let Some(seen) = seen {
            seen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
