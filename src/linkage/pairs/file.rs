//! Stored pairs: the binary pair file of `anonlink.serialization`. Little-endian, no trailer.
//!
//! | offset | width | content                                    |
//! |--------|-------|--------------------------------------------|
//! | 0      | 1     | version, 1                                 |
//! | 1      | 1     | bytes of a score: 8 (readers: also 2, 4)   |
//! | 2      | 1     | bytes of a dataset index: 4 (also 1, 2, 8) |
//! | 3      | 1     | bytes of a record index: 4 (also 1, 2, 8)  |
//! | 4      |       | entries: score, two datasets, two records  |

use std::io::{self, Read, Write};

use super::{Error, Pair};

/// The header that is always written.
pub const HEADER: [u8; 4] = [1, 8, 4, 4];
/// The number of bytes of an entry under [`HEADER`].
pub const ENTRY_BYTES: usize = 24;

const BUFFER_ENTRIES: usize = 2048;

/// Writes pairs in the given order. Call [`Writer::finish`]: dropping the writer loses what is buffered.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Returns a writer of a pair file to `out`. It writes when its buffer is full, and in [`Writer::finish`].
    pub fn new(out: W) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_ENTRIES * ENTRY_BYTES);
        buffer.extend_from_slice(&HEADER);
        Self { out, buffer, written: 0 }
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn push(&mut self, pair: &Pair) -> Result<(), Error> {
        if self.buffer.len() + ENTRY_BYTES > self.buffer.capacity() {
            self.out.write_all(&self.buffer).map_err(Error::Write)?;
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(&encode(pair));
        self.written += 1;
        Ok(())
    }

    /// Writes the rest, flushes, and returns the destination and the number of pairs.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<(W, u64), Error> {
        self.out.write_all(&self.buffer).and_then(|()| self.out.flush()).map_err(Error::Write)?;
        Ok((self.out, self.written))
    }
}

#[inline]
fn encode(pair: &Pair) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&pair.score.to_le_bytes());
    for (place, index) in entry[8..].chunks_exact_mut(4).zip(pair.datasets.iter().chain(&pair.records)) {
        place.copy_from_slice(&index.to_le_bytes());
    }
    entry
}

/// Reads a pair file with any field widths as a stream. Stops after the first error.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    widths: Widths,
    buffer: Vec<u8>,
    at: usize,
    failed: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a short header, another version or impossible widths; [`Error::Read`].
    pub fn open(mut source: R) -> Result<Self, Error> {
        let mut header = [0; 4];
        source.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Malformed("it is shorter than its header"),
            _ => Error::Read(error),
        })?;
        Ok(Self { source, widths: Widths::parse(header)?, buffer: Vec::new(), at: 0, failed: false })
    }

    /// Returns the source at its current position.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Refills the buffer; returns false if the file ends after a whole entry.
    fn fill(&mut self) -> Result<bool, Error> {
        let entry = self.widths.entry();
        self.buffer.clear();
        self.at = 0;
        let wanted = (BUFFER_ENTRIES * entry) as u64;
        let count = self.source.by_ref().take(wanted).read_to_end(&mut self.buffer).map_err(Error::Read)?;
        if count.is_multiple_of(entry) {
            Ok(count > 0)
        } else {
            Err(Error::Malformed("its last entry is truncated"))
        }
    }

    fn next_pair(&mut self) -> Result<Option<Pair>, Error> {
        if self.at == self.buffer.len() && !self.fill()? {
            return Ok(None);
        }
        let end = self.at + self.widths.entry();
        let pair = self.widths.decode(&self.buffer[self.at..end])?;
        self.at = end;
        Ok(Some(pair))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_pair().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// Bytes of a score, of a dataset index and of a record index.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Widths {
    score: usize,
    dataset: usize,
    record: usize,
}

impl Widths {
    const USUAL: Self = Self { score: 8, dataset: 4, record: 4 };

    fn parse([version, score, dataset, record]: [u8; 4]) -> Result<Self, Error> {
        if version != HEADER[0] {
            return Err(Error::Malformed("its version is not 1"));
        }
        if !matches!(score, 2 | 4 | 8) {
            return Err(Error::Malformed("its scores have an impossible width"));
        }
        if !matches!((dataset, record), (1 | 2 | 4 | 8, 1 | 2 | 4 | 8)) {
            return Err(Error::Malformed("its indices have an impossible width"));
        }
        Ok(Self { score: score.into(), dataset: dataset.into(), record: record.into() })
    }

    #[inline]
    const fn entry(self) -> usize {
        self.score + 2 * self.dataset + 2 * self.record
    }

    #[inline]
    fn decode(self, entry: &[u8]) -> Result<Pair, Error> {
        if self == Self::USUAL {
            return Ok(decode_usual(entry));
        }
        let (score, indices) = entry.split_at(self.score);
        let (datasets, records) = indices.split_at(2 * self.dataset);
        Ok(Pair {
            score: float(score),
            datasets: two_indices(datasets, self.dataset)?,
            records: two_indices(records, self.record)?,
        })
    }
}

#[inline]
fn decode_usual(entry: &[u8]) -> Pair {
    let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
    Pair {
        score: f64::from_le_bytes(entry[..8].try_into().expect("eight bytes")),
        datasets: [word(8), word(12)],
        records: [word(16), word(20)],
    }
}

#[inline]
fn two_indices(bytes: &[u8], width: usize) -> Result<[u32; 2], Error> {
    let index = |bytes: &[u8]| {
        let wide = unsigned(bytes);
        u32::try_from(wide).map_err(|_| Error::IndexTooLarge(wide))
    };
    Ok([index(&bytes[..width])?, index(&bytes[width..])?])
}

#[inline]
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[inline]
fn float(bytes: &[u8]) -> f64 {
    let bits = unsigned(bytes);
    match bytes.len() {
        2 => half(bits as u16),
        4 => f32::from_bits(bits as u32).into(),
        _ => f64::from_bits(bits),
    }
}

/// Decodes IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    match i32::from(bits >> 10 & 0x1f) {
        0 => sign * fraction * 2_f64.powi(-14),
        0x1f if fraction == 0.0 => sign * f64::INFINITY,
        0x1f => f64::NAN,
        exponent => sign * (1.0 + fraction) * 2_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_the_documented_bytes() {
        let pair = Pair { score: 0.9375, datasets: [0, 1], records: [7, 300_000] };
        let mut writer = Writer::new(Vec::new());
        writer.push(&pair).unwrap();
        let (bytes, 1) = writer.finish().unwrap() else { panic!("one pair was written") };
        assert_eq!(hex::encode(&bytes), "01080404000000000000ee3f000000000100000007000000e0930400");
        let read: Vec<_> = Reader::open(&bytes[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, [pair]);
    }

    #[test]
    fn two_byte_scores_are_half_floats() {
        for (bits, value) in
            [(0x3c00, 1.0), (0x3800, 0.5), (0x3bff, 0.999_511_718_75), (0x0001, 2_f64.powi(-24))]
        {
            assert!((half(bits) - value).abs() < f64::EPSILON, "{bits:04x}");
        }
    }

    #[test]
    fn a_reader_stops_after_an_error() {
        let mut bytes = HEADER.to_vec();
        bytes.extend([0; ENTRY_BYTES + 1]);
        let mut reader = Reader::open(&bytes[..]).unwrap();
        assert!(matches!(reader.next(), Some(Err(Error::Malformed(_)))));
        assert!(reader.next().is_none());
    }
}
