//! The writer of decoded rows, in pieces of a few tens of kilobytes.

use std::io::Write;

use super::{Error, Rejection, base64};

/// The number of bytes collected before they are written.
const PIECE_BYTES: usize = 64 << 10;

/// The treatment of encodings of different lengths.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fit {
    /// An encoding of another length than the first is an error.
    Exact,
    /// Encodings are truncated, or padded with zero bytes, to this length.
    PadOrCut(u32),
}

/// The matrix under construction.
pub(super) struct Rows<W> {
    sink: W,
    pending: Vec<u8>,
    fit: Fit,
    records: u32,
    encoding_bytes: u32,
}

impl<W: Write> Rows<W> {
    pub(super) fn new(sink: W, fit: Fit) -> Self {
        let encoding_bytes = match fit {
            Fit::Exact => 0,
            Fit::PadOrCut(bytes) => bytes,
        };
        Self { sink, pending: Vec::with_capacity(PIECE_BYTES * 2), fit, records: 0, encoding_bytes }
    }

    /// Returns the number of rows so far, which is the number of the next record.
    pub(super) const fn records(&self) -> u32 {
        self.records
    }

    /// Returns the number of bytes in each row; 0 before the first row.
    pub(super) const fn encoding_bytes(&self) -> u32 {
        self.encoding_bytes
    }

    /// Decodes `text` and appends the encoding; returns false if `text` is not canonical Base64.
    pub(super) fn push_canonical(&mut self, text: &[u8]) -> Result<bool, Error> {
        let start = self.pending.len();
        match base64::decode_strict(text, &mut self.pending) {
            Ok(()) => self.finish_row(start).map(|()| true),
            Err(base64::Invalid) => Ok(false),
        }
    }

    /// Decodes `text` and appends the encoding.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), Error> {
        let start = self.pending.len();
        base64::decode(text, &mut self.pending).map_err(|_| Rejection::Base64 { record: self.records })?;
        self.finish_row(start)
    }

    fn finish_row(&mut self, start: usize) -> Result<(), Error> {
        let found = (self.pending.len() - start) as u32;
        if found != self.encoding_bytes || found == 0 {
            self.fit_row(start, found)?;
        }
        self.records += 1;
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn fit_row(&mut self, start: usize, found: u32) -> Result<(), Rejection> {
        let record = self.records;
        match self.fit {
            Fit::PadOrCut(bytes) => self.pending.resize(start + bytes as usize, 0),
            Fit::Exact if found == 0 => return Err(Rejection::NoBytes { record }),
            Fit::Exact if record == 0 => self.encoding_bytes = found,
            Fit::Exact => return Err(Rejection::Ragged { record, expected: self.encoding_bytes, found }),
        }
        Ok(())
    }

    /// Writes the buffered bytes.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.sink.write_all(&self.pending).map_err(Error::Sink)?;
        self.pending.clear();
        Ok(())
    }
}
