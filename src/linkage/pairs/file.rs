//! Stored pairs, in one of two versions. Version 1 is the binary pair file of `anonlink.serialization`, little-endian, without a
//! trailer. Version 2 has the bytes 2, 0, 0, 0, and then blocks of pairs: [`super::dense`].
//!
//! | offset | width | content                                    |
//! |--------|-------|--------------------------------------------|
//! | 0      | 1     | version, 1                                 |
//! | 1      | 1     | bytes of a score: 8 (readers: also 2, 4)   |
//! | 2      | 1     | bytes of a dataset index: 4 (also 1, 2, 8) |
//! | 3      | 1     | bytes of a record index: 4 (also 1, 2, 8)  |
//! | 4      |       | entries: score, two datasets, two records  |

use std::io::{self, Read, Write};

use super::dense::{self, Block, Encoder};
use super::{Error, Pair};

/// A version of pair files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The format of `anonlink`, which every program reads.
    #[default]
    Plain,
    /// Dense pairs, which take about a fifth of the bytes.
    Dense,
}

impl Version {
    /// Returns the number of the version.
    pub const fn number(self) -> u8 {
        match self {
            Self::Plain => HEADER[0],
            Self::Dense => DENSE_HEADER[0],
        }
    }

    /// Returns the latest version up to this number that this program writes.
    pub const fn up_to(number: u8) -> Self {
        if number >= DENSE_HEADER[0] { Self::Dense } else { Self::Plain }
    }
}

/// The header of a file of version 1 that is always written.
pub const HEADER: [u8; 4] = [1, 8, 4, 4];
/// The number of bytes of an entry under [`HEADER`].
pub const ENTRY_BYTES: usize = 24;

/// The header of a file of version 2.
pub const DENSE_HEADER: [u8; 4] = [2, 0, 0, 0];

const BUFFER_ENTRIES: usize = 2048;
/// The number of bytes of dense pairs that are read at a time.
const BUFFER_BYTES: usize = BUFFER_ENTRIES * ENTRY_BYTES;

/// Writes pairs in the given order. Call [`Writer::finish`]: dropping the writer loses what is buffered.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
    /// The block of dense pairs.
    dense: Option<Encoder>,
}

impl<W: Write> Writer<W> {
    /// Returns a writer of a pair file of version 1 to `out`. It writes when its buffer is full, and in [`Writer::finish`].
    pub fn new(out: W) -> Self {
        Self::of(Version::Plain, out)
    }

    /// Returns a writer of a pair file of this version.
    pub fn of(version: Version, out: W) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let (header, dense) = match version {
            Version::Plain => (HEADER, None),
            Version::Dense => (DENSE_HEADER, Some(Encoder::default())),
        };
        buffer.extend_from_slice(&header);
        Self { out, buffer, written: 0, dense }
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn push(&mut self, pair: &Pair) -> Result<(), Error> {
        self.written += 1;
        let room = if self.dense.is_some() { dense::BLOCK_BYTES_MAX + dense::SLACK } else { ENTRY_BYTES };
        if self.buffer.len() + room > BUFFER_BYTES {
            self.out.write_all(&self.buffer).map_err(Error::Write)?;
            self.buffer.clear();
        }
        match &mut self.dense {
            Some(block) => block.push(pair, &mut self.buffer),
            None => self.buffer.extend_from_slice(&encode(pair)),
        }
        Ok(())
    }

    /// Writes the rest, flushes, and returns the destination and the number of pairs.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(mut self) -> Result<(W, u64), Error> {
        if let Some(block) = &mut self.dense {
            block.flush(&mut self.buffer);
        }
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

/// Reads a pair file of any version and with any field widths as a stream. Stops after the first error.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    layout: Layout,
    /// The bytes that were read, and [`dense::SLACK`] more for dense pairs.
    buffer: Vec<u8>,
    /// The place of the next pair.
    at: usize,
    /// True if the source of dense pairs has no more bytes.
    ended: bool,
    failed: bool,
}

#[derive(Debug)]
enum Layout {
    Plain(Widths),
    Dense(Block),
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
        let (layout, buffer) = if header == DENSE_HEADER {
            (Layout::Dense(Block::default()), vec![0; dense::SLACK])
        } else {
            (Layout::Plain(Widths::parse(header)?), Vec::new())
        };
        Ok(Self { source, layout, buffer, at: 0, ended: false, failed: false })
    }

    /// Returns the source at its current position.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Refills the buffer; returns false if the file ends after a whole entry.
    fn fill(&mut self, entry: usize) -> Result<bool, Error> {
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

    /// Reads the head of the next block, after the block's bytes have arrived; returns false if the file ends before it.
    fn begin_block(&mut self, block: &mut Block) -> Result<bool, Error> {
        let mut held = self.buffer.len() - dense::SLACK - self.at;
        if held < dense::BLOCK_BYTES_MAX && !self.ended {
            self.buffer.truncate(self.at + held);
            self.buffer.drain(..self.at);
            self.at = 0;
            let wanted = BUFFER_BYTES - held;
            let source = self.source.by_ref().take(wanted as u64).read_to_end(&mut self.buffer);
            let count = source.map_err(Error::Read)?;
            self.ended = count < wanted;
            held += count;
            self.buffer.resize(held + dense::SLACK, 0);
        }
        if held == 0 {
            return Ok(false);
        }
        let (head_bytes, bytes) = block.begin(&self.buffer[self.at..self.at + held])?;
        if bytes > held {
            return Err(Error::Malformed("its last block is truncated"));
        }
        self.at += head_bytes;
        Ok(true)
    }

    #[inline]
    fn next_pair(&mut self) -> Result<Option<Pair>, Error> {
        match &mut self.layout {
            Layout::Dense(block) if !block.is_over() => {
                let (pair, end) = block.next(&self.buffer, self.at)?;
                self.at = end;
                Ok(Some(pair))
            }
            Layout::Dense(block) => {
                let block = *block;
                self.next_of_block(block)
            }
            Layout::Plain(widths) => {
                let widths = *widths;
                self.next_plain(widths)
            }
        }
    }

    fn next_plain(&mut self, widths: Widths) -> Result<Option<Pair>, Error> {
        if self.at == self.buffer.len() && !self.fill(widths.entry())? {
            return Ok(None);
        }
        let end = self.at + widths.entry();
        let pair = widths.decode(&self.buffer[self.at..end])?;
        self.at = end;
        Ok(Some(pair))
    }

    /// Returns the first pair of the block after this one.
    fn next_of_block(&mut self, mut block: Block) -> Result<Option<Pair>, Error> {
        if !self.begin_block(&mut block)? {
            return Ok(None);
        }
        let (pair, end) = block.next(&self.buffer, self.at)?;
        self.at = end;
        self.layout = Layout::Dense(block);
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
    use proptest::prelude::*;

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

    fn dense(pairs: &[Pair]) -> Vec<u8> {
        let mut writer = Writer::of(Version::Dense, Vec::new());
        pairs.iter().for_each(|pair| writer.push(pair).unwrap());
        let (bytes, count) = writer.finish().unwrap();
        assert_eq!(count, pairs.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Pair>, Error> {
        Reader::open(bytes)?.collect()
    }

    #[test]
    fn dense_pairs_have_the_documented_bytes() {
        let pair = |score, datasets, records| Pair { score, datasets, records };
        let pairs = [
            pair(0.9375, [0, 1], [7, 300_000]),
            pair(0.9375, [0, 1], [9, 299_999]),
            pair(0.5, [0, 1], [4, 4]),
            pair(0.5, [0, 2], [4, 4]),
        ];
        let blocks = [
            "02000000",
            "49",
            "0200",
            "000000000000ee3f",
            "07000000",
            "df930400",
            "00000000",
            "01000000",
            "0001",
            "0200",
            "00",
            "0100",
            "000000000000e03f",
            "04000000",
            "04000000",
            "40",
            "0100",
            "000000000000e03f",
            "04000000",
            "04000000",
            "00000000",
            "02000000",
        ];
        assert_eq!(hex::encode(dense(&pairs)), blocks.concat());
        assert_eq!(read(&dense(&pairs)).unwrap(), pairs);
    }

    proptest! {
        #[test]
        fn dense_pairs_are_read_back_in_any_order(
            pairs in prop::collection::vec(
                (0..3_u8, 0..2_u32, 0..3_u32, 0..32_u32, any::<u32>(), 0..32_u32, any::<u32>()),
                0..3_000,
            ),
            sorts in any::<bool>(),
        ) {
            let pair = |(score, left, right, left_bits, a, right_bits, b): (u8, u32, u32, u32, u32, u32, u32)| Pair {
                score: 0.5 + f64::from(score) / 8.0,
                datasets: [left, right],
                records: [a >> left_bits, b >> right_bits],
            };
            let mut pairs: Vec<_> = pairs.into_iter().map(pair).collect();
            if sorts {
                pairs.sort_unstable();
            }
            prop_assert_eq!(read(&dense(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn damaged_dense_pairs_are_refused_or_read(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            flags in 0..0x80_u8,
            count in 0..40_u16,
        ) {
            let mut file = DENSE_HEADER.to_vec();
            file.push(flags);
            file.extend(count.to_le_bytes());
            file.extend(&bytes);
            let read = Reader::open(&file[..]).unwrap();
            prop_assert!(read.count() <= 1024 * file.len());
        }
    }

    #[test]
    fn truncated_dense_pairs_are_noticed() {
        let pairs: Vec<_> =
            (0..100).map(|at| Pair { score: 0.75, datasets: [0, 1], records: [at, 1_000 * at] }).collect();
        let whole = dense(&pairs);
        for length in DENSE_HEADER.len() + 1..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Error::Malformed(_))), "{length} bytes");
        }
        assert_eq!(read(&whole).unwrap(), pairs);
        assert_eq!(whole.len(), 4 + 27 + 100 * 4);
    }

    #[test]
    fn a_record_beyond_32_bits_is_refused() {
        let pairs =
            [u32::MAX - 1, u32::MAX].map(|at| Pair { score: 0.75, datasets: [0, 1], records: [at, 0] });
        let mut bytes = dense(&pairs);
        let last = bytes.len() - 1;
        bytes[last] = 2;
        assert!(matches!(read(&bytes), Err(Error::Malformed(_))));
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
