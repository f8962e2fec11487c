//! The directory of an index, block by block.

use std::io::{self, BufReader, Read};

use super::super::block::{DIGEST_BYTES, Digest};
use super::header::{BLOCK_BYTES, HEADER_BYTES, Header, INDEX, u32_at, u64_at};
use super::{Damage, Error, Span};

/// A block of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The digest of the block's name.
    pub digest: Digest,
    /// The records of the block; at least one.
    pub span: Span,
}

impl Block {
    pub(super) fn to_bytes(self) -> [u8; BLOCK_BYTES] {
        let (first, count, dense) = match self.span {
            Span::Rows { first, count } => (u64::from(first), count, 1_u32),
            Span::Ids { first, count } => (first, count, 0),
        };
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..DIGEST_BYTES].copy_from_slice(&self.digest);
        bytes[32..40].copy_from_slice(&first.to_le_bytes());
        bytes[40..44].copy_from_slice(&count.to_le_bytes());
        bytes[44..].copy_from_slice(&dense.to_le_bytes());
        bytes
    }

    /// Reads a block of an index with this `header`.
    pub(super) fn from_bytes(bytes: &[u8; BLOCK_BYTES], header: &Header) -> Result<Self, Damage> {
        let contradiction = |what| Damage::Contradiction { object: INDEX, what };
        let (first, count) = (u64_at(bytes, 32), u32_at(bytes, 40));
        let (span, bound) = match u32_at(bytes, 44) {
            0 => (Span::Ids { first, count }, header.ids),
            1 => (Span::Rows { first: first as u32, count }, u64::from(header.records)),
            _ => return Err(contradiction("a block of unknown form")),
        };
        if count == 0 || first.checked_add(count.into()).is_none_or(|stop| stop > bound) {
            return Err(contradiction("a block reaches beyond the last record"));
        }
        let digest = *bytes.first_chunk().expect("a block starts with its digest");
        Ok(Self { digest, span })
    }
}

/// Checks that digests ascend.
#[derive(Default)]
pub(super) struct Ascending(Option<Digest>);

impl Ascending {
    pub(super) fn check(&mut self, digest: &Digest) -> Result<(), Damage> {
        if self.0.replace(*digest).is_some_and(|last| last >= *digest) {
            return Err(Damage::Contradiction { object: INDEX, what: "blocks out of order" });
        }
        Ok(())
    }
}

/// The number of blocks that are read and summed at once.
const PIECE_BLOCKS: u64 = 256;

/// The blocks of an index, read as a stream from its first byte on. Holds some tens of kilobytes.
pub struct Directory<R> {
    source: BufReader<R>,
    header: Header,
    /// The number of blocks that are not read yet.
    left: u64,
    /// The latest blocks that were read; those from `at` on are not returned yet.
    piece: Vec<u8>,
    at: usize,
    ascending: Ascending,
    crc: crc32fast::Hasher,
}

impl<R: Read> Directory<R> {
    /// Reads the header of the index in `source`.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Source`].
    pub fn open(source: R) -> Result<Self, Error> {
        let mut source = BufReader::with_capacity(64 << 10, source);
        let mut bytes = [0; HEADER_BYTES];
        read_exact(&mut source, &mut bytes)?;
        let header = Header::from_bytes(&bytes)?;
        let sums_bytes = header.chunks() * 4;
        let skipped =
            io::copy(&mut source.by_ref().take(sums_bytes), &mut io::sink()).map_err(Error::Source)?;
        if skipped < sums_bytes {
            return Err(ends_early().into());
        }
        let crc = crc32fast::Hasher::new();
        let (left, piece, ascending) = (header.blocks, Vec::new(), Ascending::default());
        Ok(Self { source, header, left, piece, at: 0, ascending, crc })
    }

    /// Returns the header of the index.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the next block, ascending by digest. Verifies the checksum before it returns the last one.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Source`].
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        if self.at == self.piece.len() && !self.refill()? {
            return Ok(None);
        }
        let bytes = self.piece[self.at..].first_chunk().expect("a piece has whole blocks");
        let block = Block::from_bytes(bytes, &self.header)?;
        self.at += BLOCK_BYTES;
        self.ascending.check(&block.digest)?;
        Ok(Some(block))
    }

    /// Reads more blocks; returns false if there are none.
    fn refill(&mut self) -> Result<bool, Error> {
        let blocks = self.left.min(PIECE_BLOCKS);
        // After an error, there are no blocks.
        let mut piece = std::mem::take(&mut self.piece);
        self.at = 0;
        piece.resize(blocks as usize * BLOCK_BYTES, 0);
        read_exact(&mut self.source, &mut piece)?;
        self.crc.update(&piece);
        self.left -= blocks;
        if blocks > 0 && self.left == 0 && self.crc.clone().finalize() != self.header.directory_crc {
            return Err(Damage::Sum { object: INDEX, section: "directory" }.into());
        }
        self.piece = piece;
        Ok(blocks > 0)
    }
}

const fn ends_early() -> Damage {
    Damage::Contradiction { object: INDEX, what: "it ends early" }
}

fn read_exact(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ends_early().into(),
        _ => Error::Source(error),
    })
}
