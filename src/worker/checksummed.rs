//! Streams with a trailer that detects truncation and corruption.
//!
//! The trailer follows the bytes. It consists of their number (u64) and their CRC-32 (u32), little-endian.

use std::io::{self, Read, Write};

use crate::objects::{self, Key};

const TRAILER_BYTES: usize = 12;
/// The number of bytes that are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The number of bytes so far, and their CRC-32.
#[derive(Debug, Default)]
struct Totals {
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Totals {
    fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
    }

    fn trailer(&self) -> [u8; TRAILER_BYTES] {
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..8].copy_from_slice(&self.bytes.to_le_bytes());
        trailer[8..].copy_from_slice(&self.crc.clone().finalize().to_le_bytes());
        trailer
    }
}

/// Writes bytes, then their trailer.
#[derive(Debug)]
pub(super) struct ChecksumWriter<W> {
    out: W,
    totals: Totals,
}

impl<W: Write> ChecksumWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, totals: Totals::default() }
    }

    /// Returns the inner writer without a trailer, the number of bytes, and their CRC-32.
    pub(super) fn into_parts(self) -> (W, u64, u32) {
        (self.out, self.totals.bytes, self.totals.crc.finalize())
    }

    /// Writes the trailer and returns the inner writer.
    pub(super) fn finish(self) -> io::Result<W> {
        let Self { mut out, totals } = self;
        out.write_all(&totals.trailer())?;
        Ok(out)
    }
}

impl<W: Write> Write for ChecksumWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.totals.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads bytes with a trailer. Fails at the end with [`objects::Error::Damaged`] if the trailer does not match.
#[derive(Debug)]
pub(super) struct ChecksumReader<R> {
    source: R,
    key: Key,
    /// The bytes that were read. The last ones may be the trailer.
    buffer: Vec<u8>,
    /// The number of bytes in the buffer that were returned.
    at: usize,
    totals: Totals,
}

impl<R: Read> ChecksumReader<R> {
    /// Reads `source`, which is the object `key`.
    pub(super) fn new(source: R, key: Key) -> Self {
        Self { source, key, buffer: Vec::new(), at: 0, totals: Totals::default() }
    }

    /// Fills the buffer; returns false at the end of the source.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let count = self.source.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut self.buffer)?;
        Ok(count > 0)
    }

    fn check(&self) -> io::Result<()> {
        if self.buffer[self.at..] == self.totals.trailer() {
            return Ok(());
        }
        let (key, reason) = (self.key.clone(), "it is truncated, or was changed".to_owned());
        Err(io::Error::other(objects::Error::Damaged { key, reason }))
    }
}

impl<R: Read> Read for ChecksumReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.buffer.len() - self.at <= TRAILER_BYTES {
            if !self.fill()? {
                return self.check().map(|()| 0);
            }
        }
        let ready = &self.buffer[self.at..self.buffer.len() - TRAILER_BYTES];
        let count = ready.len().min(bytes.len());
        bytes[..count].copy_from_slice(&ready[..count]);
        self.totals.update(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProjectId, RunId};
    use crate::objects::keys;

    fn checksummed(bytes: &[u8]) -> Vec<u8> {
        let mut out = ChecksumWriter::new(Vec::new());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn verified(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let key = keys::pairs(ProjectId::from_bytes([1; 24]), RunId::from_bytes([2; 24]), 3);
        let mut read = Vec::new();
        ChecksumReader::new(bytes, key).read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn a_checksummed_stream_is_read_back() {
        for count in [0, 1, TRAILER_BYTES, BUFFER_BYTES - TRAILER_BYTES, BUFFER_BYTES, 3 * BUFFER_BYTES + 1] {
            let bytes: Vec<u8> = (0..count).map(|at| at as u8).collect();
            assert!(verified(&checksummed(&bytes)).unwrap() == bytes, "{count} bytes");
        }
    }

    #[test]
    fn every_change_of_a_bit_and_every_cut_is_noticed() {
        let whole = checksummed(b"twenty-four bytes a pair");
        for bit in 0..8 * whole.len() {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(verified(&changed).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            let error = verified(&whole[..length]).unwrap_err().downcast::<objects::Error>().unwrap();
            assert!(matches!(error, objects::Error::Damaged { .. }), "{length} bytes");
        }
    }
}
