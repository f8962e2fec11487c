//! Encodes records.

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroizing;

use super::cache::Cache;
use super::csv::{Batch, Row};
use super::hash::Hasher;
use super::keys;
use super::schema::{Hashing, Schema, Strategy};
use super::tokens::Tokens;

/// Rows that are encoded together, a column at a time, so that the cache of a column stays close to the core.
const BLOCK_ROWS: usize = 256;

/// Encodes records by one schema. Each thread has its own.
pub(super) struct RecordEncoder {
    columns: Vec<Option<Column>>,
    /// The filters of the rows of a block.
    filters: Vec<u64>,
    /// Words of a filter.
    words: usize,
    folding: Folding,
    refusals: Vec<Option<Refusal>>,
}

/// A record cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The column with the invalid value; `None` if the record is invalid.
    pub(super) column: Option<usize>,
    /// The rule that it breaks, without the value.
    pub(super) rule: String,
}

/// A column that is encoded.
struct Column {
    hashing: Hashing,
    hasher: Hasher,
    tokens: Tokens,
    values: Cache,
    grams: Cache,
    value_mask: Vec<u64>,
    gram_mask: Vec<u64>,
    key: Zeroizing<Vec<u8>>,
    bits: usize,
}

impl RecordEncoder {
    /// Returns an encoder with the keys derived from `secret`.
    pub(super) fn new(schema: &Schema, secret: &[u8]) -> Self {
        let bits = schema.bits << schema.folds;
        let keys = keys::derive(&schema.keys, secret, schema.features.len());
        let columns = schema.features.iter().zip(&keys);
        let column = |hashing: &Hashing, keys| Column::new(hashing.clone(), keys, bits);
        let columns =
            columns.map(|(feature, keys)| feature.hashing.as_ref().map(|hashing| column(hashing, keys)));
        let words = bits.div_ceil(64);
        Self {
            columns: columns.collect(),
            filters: vec![0; BLOCK_ROWS * words],
            words,
            folding: Folding::new(schema.bits, schema.folds > 0),
            refusals: Vec::new(),
        }
    }

    /// Bytes of an encoding.
    pub(super) const fn encoding_bytes(&self) -> usize {
        self.folding.bits.div_ceil(8)
    }

    /// Appends the encodings of these rows to `out`; rows that cannot be encoded go to `refused`, each with its first
    /// invalid column.
    pub(super) fn encode(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        out: &mut Vec<u8>,
        refused: &mut Vec<(usize, Refusal)>,
    ) {
        for start in rows.clone().step_by(BLOCK_ROWS) {
            let block = start..rows.end.min(start + BLOCK_ROWS);
            self.fill(batch, block.clone());
            for (number, row) in block.enumerate() {
                match self.refusals[number].take() {
                    Some(refusal) => refused.push((row, refusal)),
                    None => self.folding.write(&self.filters[number * self.words..][..self.words], out),
                }
            }
        }
    }

    /// Fills the filters of a block.
    fn fill(&mut self, batch: &Batch, block: Range<usize>) {
        let expected = self.columns.len();
        let width = |row: Row<'_>| {
            let found = row.len();
            let rule = || format!("the row has {found} columns; the schema has {expected}");
            (found != expected).then(|| Refusal { column: None, rule: rule() })
        };
        self.refusals.clear();
        self.refusals.extend(block.clone().map(|row| width(batch.row(row))));
        self.filters[..block.len() * self.words].fill(0);
        for (at, column) in self.columns.iter_mut().enumerate() {
            let Some(column) = column else { continue };
            let filters = self.filters.chunks_exact_mut(self.words);
            for ((row, filter), refusal) in block.clone().zip(filters).zip(&mut self.refusals) {
                if refusal.is_none()
                    && let Err(rule) = column.insert(batch.row(row).field(at), filter)
                {
                    *refusal = Some(Refusal { column: Some(at), rule });
                }
            }
        }
    }
}

/// Converts filters into encodings.
struct Folding {
    bits: usize,
    is_folded: bool,
    folded: Vec<u64>,
}

impl Folding {
    fn new(bits: usize, is_folded: bool) -> Self {
        Self { bits, is_folded, folded: vec![0; bits.div_ceil(64)] }
    }

    /// Appends the encoding that a filter folds to.
    fn write(&mut self, filter: &[u64], out: &mut Vec<u8>) {
        if self.is_folded {
            self.fold(filter);
        } else {
            self.folded.copy_from_slice(filter);
        }
        let end = out.len() + self.bits.div_ceil(8);
        self.folded.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        // The last word may have more bits than necessary.
        out.truncate(end);
    }

    /// Bits at a distance of the length of the encoding are combined by parity.
    fn fold(&mut self, filter: &[u64]) {
        self.folded.fill(0);
        if self.bits.is_multiple_of(64) {
            for part in filter.chunks_exact(self.folded.len()) {
                self.folded.iter_mut().zip(part).for_each(|(word, part)| *word ^= part);
            }
            return;
        }
        let is_set = |bit: &usize| filter[bit / 64] >> (63 - bit % 64) & 1 == 1;
        for bit in (0..filter.len() * 64).filter(is_set) {
            let bit = bit % self.bits;
            self.folded[bit / 64] ^= 1 << (63 - bit % 64);
        }
    }
}

impl Column {
    fn new(hashing: Hashing, keys: &keys::KeyPair, bits: usize) -> Self {
        let (Strategy::PerToken(most) | Strategy::PerFeature(most)) = hashing.strategy;
        let words = bits.div_ceil(64);
        Self {
            hasher: Hasher::new(hashing.function, keys, most),
            hashing,
            tokens: Tokens::default(),
            values: Cache::new(words),
            grams: Cache::new(words),
            value_mask: vec![0; words],
            gram_mask: vec![0; words],
            key: Zeroizing::default(),
            bits,
        }
    }

    /// Sets the bits of a value.
    fn insert(&mut self, value: &str, filter: &mut [u64]) -> Result<(), String> {
        let vacancy = match self.values.find(value.as_bytes()) {
            Ok(mask) => {
                return {
                    add(mask, filter);
                    Ok(())
                };
            }
            Err(vacancy) => vacancy,
        };
        let hashing = &self.hashing;
        let text = match &hashing.missing {
            Some(missing) if missing.sentinel == value => Cow::Borrowed(missing.replacement.as_str()),
            _ if !hashing.charset.can_write(value) => return Err("the value must be ASCII".to_owned()),
            _ => hashing.format.apply(value)?,
        };
        if !hashing.charset.can_write(&text) {
            return Err("the replacement of a missing value must be ASCII".to_owned());
        }
        self.tokens.cut(&text, &hashing.comparison)?;
        self.value_mask.fill(0);
        for at in 0..self.tokens.len() {
            self.insert_token(at)?;
        }
        self.values.keep(vacancy, &self.value_mask);
        add(&self.value_mask, filter);
        Ok(())
    }

    /// Sets the bits of token `at` in the mask of the value.
    fn insert_token(&mut self, at: usize) -> Result<(), String> {
        let count = self.hashing.strategy.insertions(at, self.tokens.len());
        self.key.clear();
        self.key.extend_from_slice(&count.to_le_bytes());
        self.hashing.charset.write(self.tokens.get(at), &mut self.key);
        match self.grams.find(&self.key) {
            Ok(mask) => add(mask, &mut self.value_mask),
            Err(vacancy) => {
                self.gram_mask.fill(0);
                self.hasher.insert(
                    &self.key[size_of_val(&count)..],
                    count,
                    &mut self.gram_mask,
                    self.bits,
                )?;
                self.grams.keep(vacancy, &self.gram_mask);
                add(&self.gram_mask, &mut self.value_mask);
            }
        }
        Ok(())
    }
}

fn add(mask: &[u64], filter: &mut [u64]) {
    filter.iter_mut().zip(mask).for_each(|(word, mask)| *word |= mask);
}
