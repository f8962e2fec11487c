//! Lambda-fold: each of several tables samples a few bit positions. Records whose filters have the same bits at these
//! positions form a block.

use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::batch::Batch;
use super::blocks::{Blocks, Builder};
use super::error::Error;
use super::flip::Flips;
use super::grouping::Grouping;
use super::key::Writer;
use super::names::Names;
use super::signature::record_number;
use super::texts::{List, Texts};
use crate::cache::{Cache, packed};
use crate::hash;
use crate::python::base64;
use crate::python::random::Random;

/// The settings of lambda-fold.
#[derive(Clone, Debug)]
pub struct LambdaFold {
    /// The columns whose values are joined.
    pub(super) columns: Vec<usize>,
    pub(super) tables: u32,
    pub(super) bits: u32,
    pub(super) functions: u32,
    /// The number of bit positions that a table samples.
    pub(super) drawn: u32,
    pub(super) seed: BigUint,
    pub(super) record_column: Option<usize>,
}

/// Blocks under construction.
pub struct Building<'a> {
    settings: &'a LambdaFold,
    /// The record numbers; empty if the number of the row is used.
    records: Vec<u64>,
    rows: usize,
    /// The filters of the records, concatenated. The first byte of a filter is the most significant one of its first word.
    filters: Vec<u64>,
    /// The size of an encoding in bytes; `None` if the records are rows of a table.
    encoding_bytes: Option<usize>,
    cache: Cache,
    text: Zeroizing<String>,
    starts: Vec<usize>,
    mask: Vec<u64>,
}

impl LambdaFold {
    /// Starts to collect records.
    pub fn begin(&self) -> Building<'_> {
        let words = (self.bits as usize).div_ceil(64);
        Building {
            settings: self,
            records: Vec::new(),
            rows: 0,
            filters: Vec::new(),
            encoding_bytes: None,
            cache: Cache::new(words),
            text: Zeroizing::default(),
            starts: Vec::new(),
            mask: vec![0; words],
        }
    }
}

impl Building<'_> {
    /// Adds the record of a row. The values must be trimmed.
    ///
    /// # Errors
    /// [`Error::Row`], without the value.
    pub fn add(&mut self, row: &[&str]) -> Result<(), Error> {
        let record = self.settings.record_column.map(|column| record_number(row, column)).transpose()?;
        self.text.clear();
        for column in &self.settings.columns {
            let missing = || Error::Row(format!("there is no column {}", column + 1));
            self.text.push_str(row.get(*column).ok_or_else(missing)?);
        }
        self.records.extend(record);
        self.rows += 1;
        self.add_filter();
        Ok(())
    }

    /// Adds a record that is an encoding in base64.
    ///
    /// # Errors
    /// [`Error::Row`]
    pub fn add_encoding(&mut self, text: &str) -> Result<(), Error> {
        let encoding = base64::decode(text).map_err(|rule| Error::Row(rule.to_owned()))?;
        if *self.encoding_bytes.get_or_insert(encoding.len()) != encoding.len() {
            return Err(Error::Row("its size differs from that of the encodings before it".to_owned()));
        }
        self.rows += 1;
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(word)
        };
        self.filters.extend(encoding.chunks(8).map(word));
        Ok(())
    }

    /// Adds the filter of the text's bigrams.
    fn add_filter(&mut self) {
        let Self { settings, cache, text, starts, mask, filters, .. } = self;
        starts.clear();
        starts.extend(text.char_indices().map(|(at, _)| at).chain([text.len()]));
        let start = filters.len();
        filters.resize(start + mask.len(), 0);
        let filter = &mut filters[start..];
        for bigram in starts.windows(3) {
            let bigram = &text[bigram[0]..bigram[2]];
            let Some(key) = packed(bigram.as_bytes()) else { continue };
            let bits = match cache.find(key) {
                Ok(bits) => bits,
                Err(vacancy) => {
                    mask.fill(0);
                    Flips::of(bigram.as_bytes(), settings.bits)
                        .iter(settings.bits, settings.functions)
                        .for_each(|bit| hash::set(mask, bit as usize));
                    cache.keep(vacancy, mask);
                    &*mask
                }
            };
            filter.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
        }
    }

    /// Returns the blocks.
    ///
    /// # Errors
    /// [`Error`]
    pub fn finish(self) -> Result<Blocks, Error> {
        if self.rows == 0 {
            return Err(Error::Nothing);
        }
        let settings = self.settings;
        let bits = self.encoding_bytes.map_or(settings.bits, |bytes| bytes as u32 * 8);
        if settings.drawn > bits {
            return Err(Error::Row(format!("K is {}, but a filter has only {bits} bits", settings.drawn)));
        }
        let words = (bits as usize).div_ceil(64);
        let mut random = Random::seeded(&settings.seed);
        let mut builder = Builder::new(Texts::default(), 0);
        let (empty, mut key, mut texts) = (Writer::default(), Writer::default(), Batch::default());
        for table in 0..settings.tables {
            let places: Vec<usize> =
                random.sample(bits, settings.drawn).into_iter().map(|place| place as usize).collect();
            let mut grouping = Grouping::new();
            for number in 0..self.rows {
                let filter = &self.filters[number * words..][..words];
                let bit = |at: &usize| filter[at / 64] >> (63 - at % 64) & 1;
                let byte = |places: &[usize]| places.iter().fold(0, |byte, at| byte << 1 | bit(at) as u8);
                key.restart(&empty);
                places.chunks(8).for_each(|places| key.push_byte(byte(places)));
                grouping.add(key.key());
            }
            let groups = grouping.finish();
            builder.add(
                groups,
                |_| true,
                |keys, groups, names, numbers| {
                    let prefix = table.to_string();
                    texts.clear();
                    for group in groups {
                        keys.key(*group as usize).read(|key| {
                            texts.push(prefix.len() + places.len(), |name| {
                                name.extend_from_slice(prefix.as_bytes());
                                for (places, byte) in places.chunks(8).zip(key) {
                                    let bits = (0..places.len()).rev().map(|bit| b'0' + (byte >> bit & 1));
                                    name.extend(bits);
                                }
                            });
                        });
                    }
                    names.number_all(texts.iter(), numbers);
                },
            );
        }
        Ok(builder.finish(self.records, Names::Texts))
    }
}
