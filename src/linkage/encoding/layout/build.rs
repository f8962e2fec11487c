//! Builds an index: one pass over the matrix, one external sort of the block entries.

use std::io::{Read, Seek, Write};

use super::super::entries::{self, Frames};
use super::blocks::Blocks;
use super::header::{CHUNK_BYTES, Header};
use super::sort::Limits;
use super::{Damage, Error, divided, numbered};
use crate::scratch::Scratch;

/// A dataset that has been uploaded and not yet indexed.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<M, E> {
    /// The number of the upload; 0 if it has none.
    pub upload: u32,
    /// The number of rows of the matrix.
    pub records: u32,
    /// The number of bytes in each row.
    pub encoding_bytes: u32,
    /// The matrix.
    pub matrix: M,
    /// The block entries of the dataset, in any order and with duplicates; `None` if it was uploaded without blocks.
    pub entries: Option<E>,
}

/// Writes the index of `dataset` to `out`. Takes at most about 32 MiB of memory whatever the dataset's size, and
/// temporary files of up to twice the block entries.
///
/// # Errors
/// [`Error::Damaged`] if the matrix does not have the declared length, or an entry names a record that does not
/// exist; otherwise the error of the source, a temporary file, or `out`.
pub fn build<M: Read, E: Read + Seek>(
    dataset: Dataset<M, E>,
    scratch: &dyn Scratch,
    out: impl Write,
) -> Result<Header, Error> {
    build_within(Limits::DEFAULT, dataset, scratch, out)
}

/// Builds the index like [`build`], with other memory limits.
pub(super) fn build_within<M: Read, E: Read + Seek>(
    limits: Limits,
    dataset: Dataset<M, E>,
    scratch: &dyn Scratch,
    mut out: impl Write,
) -> Result<Header, Error> {
    let Dataset { upload, records, encoding_bytes, matrix, entries } = dataset;
    let sums = chunk_sums(matrix, u64::from(records) * u64::from(encoding_bytes))?;
    let mut blocks = Blocks::create(scratch, records)?;
    match entries {
        Some(mut entries) => {
            if entries::is_numbered(&mut entries).map_err(Error::Source)? {
                numbered::push_sorted(Frames::new(entries), scratch, limits, &mut blocks)?;
            } else {
                divided::push_sorted(entries, scratch, limits, &mut blocks)?;
            }
        }
        None => blocks.push_all_records()?,
    }
    let blocks = blocks.finish()?;
    let header = Header {
        upload,
        records,
        encoding_bytes,
        blocks: blocks.directory.items(),
        ids: blocks.ids.items(),
        sums_crc: crc32fast::hash(&sums),
        directory_crc: blocks.directory.crc(),
        ids_crc: blocks.ids.crc(),
    };
    out.write_all(&header.to_bytes()).map_err(Error::Sink)?;
    out.write_all(&sums).map_err(Error::Sink)?;
    blocks.directory.copy_to(&mut out)?;
    blocks.ids.copy_to(&mut out)?;
    out.flush().map_err(Error::Sink)?;
    Ok(header)
}

/// Returns the checksum of each chunk of a matrix that must have `expected` bytes.
fn chunk_sums(mut matrix: impl Read, expected: u64) -> Result<Vec<u8>, Error> {
    let mut sums = Vec::new();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES as usize);
    let mut found = 0;
    loop {
        chunk.clear();
        let read = matrix.by_ref().take(CHUNK_BYTES).read_to_end(&mut chunk).map_err(Error::Source)?;
        found += read as u64;
        if read == 0 || found > expected {
            break;
        }
        sums.extend_from_slice(&crc32fast::hash(&chunk).to_le_bytes());
    }
    if found == expected {
        Ok(sums)
    } else {
        Err(Damage::Length { object: "matrix", expected, found }.into())
    }
}
