//! Encodes records.

use std::ops::Range;

use zeroize::Zeroizing;

use super::buffer::{self, wipe_stack};
use super::cache::{Cache, packed};
use super::csv::{Batch, Row};
use super::folding::Folding;
use super::format::Format;
use super::grams::{Grams, Insertions};
use super::hardening::{Balance, Noise, Salts};
use super::hash::Hasher;
use super::keys;
use super::schema::{Charset, Hashing, Schema, Strategy};
use super::token_bits::TokenBits;
use super::tokens::{Comparison, Tokens};

/// The number of rows that are encoded together, column by column, so that the cache of a column stays in the L2 cache.
const BLOCK_ROWS: usize = 256;

/// Encodes records by one schema. Each thread has its own encoder.
pub(super) struct RecordEncoder {
    columns: Vec<Option<Column>>,
    /// The filters of the rows of a block.
    filters: Vec<u64>,
    /// The number of words of a filter.
    words: usize,
    folding: Folding,
    salts: Option<Salts>,
    /// The salt number of each row of a block.
    salt_numbers: Vec<usize>,
    noise: Option<Noise>,
    balance: Option<Balance>,
    encoding_bytes: usize,
    refusals: Vec<Option<Refusal>>,
}

/// The reason why a record cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The column with the invalid value; `None` if the record as a whole is invalid.
    pub(super) column: Option<usize>,
    /// The rule that the record breaks, without the value.
    pub(super) rule: String,
}

/// A column that is encoded.
struct Column {
    hashing: Hashing,
    token_bits: TokenBits,
    tokens: Tokens,
    /// The bits of whole values, if a look-up is cheaper than cutting a value into tokens.
    values: Option<Cache>,
    value_mask: Zeroizing<Vec<u64>>,
    /// The token as bytes.
    bytes: Zeroizing<Vec<u8>>,
    /// The bits of short n-grams in ASCII.
    grams: Option<Grams>,
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
        let columns = columns.collect();
        let words = bits.div_ceil(64);
        let hardening = schema.hardening.as_ref();
        let salt = hardening.and_then(|hardening| hardening.salt.as_ref());
        let blip = hardening.and_then(|hardening| hardening.blip);
        let is_balanced = hardening.is_some_and(|hardening| hardening.is_balanced);
        let salts = salt.map(|salt| Salts::new(salt, schema, secret));
        let noise = blip.map(|blip| Noise::new(blip, &schema.keys, secret));
        let balance = is_balanced.then(|| Balance::new(&schema.keys, secret, schema.bits));
        wipe_stack();
        Self {
            columns,
            filters: vec![0; BLOCK_ROWS * words],
            words,
            folding: Folding::new(schema.bits, schema.folds > 0),
            salts,
            salt_numbers: Vec::new(),
            noise,
            balance,
            encoding_bytes: schema.encoding_bytes(),
            refusals: Vec::new(),
        }
    }

    /// Bytes of an encoding.
    pub(super) const fn encoding_bytes(&self) -> usize {
        self.encoding_bytes
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
                    None => self.write(number, batch.row(row), out),
                }
            }
        }
    }

    /// Appends the encoding of a row of a block to `out`.
    fn write(&mut self, number: usize, row: Row<'_>, out: &mut Vec<u8>) {
        let filter = self.folding.apply(&mut self.filters[number * self.words..][..self.words]);
        if let Some(noise) = &self.noise {
            noise.add(row.field(noise.column), filter);
        }
        let encoding = match &mut self.balance {
            Some(balance) => balance.apply(filter),
            None => filter,
        };
        let start = out.len();
        out.resize(start + encoding.len() * 8, 0);
        let (words, _) = out[start..].as_chunks_mut::<8>();
        words.iter_mut().zip(encoding).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        // The last word may extend beyond the encoding.
        out.truncate(start + self.encoding_bytes);
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
        self.prepare(batch, block.clone());
        for (at, column) in self.columns.iter_mut().enumerate() {
            let Some(column) = column else { continue };
            let filters = self.filters.chunks_exact_mut(self.words);
            let rows = block.clone().zip(filters).zip(&mut self.refusals).enumerate();
            for (number, ((row, filter), refusal)) in rows.filter(|(_, (_, refusal))| refusal.is_none()) {
                let value = batch.row(row).field(at);
                let salts = self.salts.as_ref();
                let keys = salts.map(|salts| salts.keys(self.salt_numbers[number], at));
                let inserted = column.insert(value, keys, filter);
                // Assigning `None` as well would copy what lay on the stack, such as a value.
                if let Err(rule) = inserted {
                    *refusal = Some(Refusal { column: Some(at), rule });
                }
            }
        }
    }

    /// Finds the salts of the rows of a block, and rejects rows without a salt or without an identifier for their noise.
    fn prepare(&mut self, batch: &Batch, block: Range<usize>) {
        if let Some(salts) = &mut self.salts {
            salts.reserve(block.len());
            self.salt_numbers.clear();
            for (row, refusal) in block.clone().zip(&mut self.refusals) {
                let column = salts.column();
                let found = refusal.is_none().then(|| salts.number(batch.row(row).field(column)));
                let refused = |rule| *refusal = Some(Refusal { column: Some(column), rule });
                self.salt_numbers
                    .push(found.and_then(|found| found.map_err(refused).ok()).unwrap_or_default());
            }
        }
        let Some(noise) = &self.noise else { return };
        for (row, refusal) in block.zip(&mut self.refusals) {
            if refusal.is_none() && batch.row(row).field(noise.column).is_empty() {
                let rule =
                    "the value identifies the record for hardening.blip and must not be empty".to_owned();
                *refusal = Some(Refusal { column: Some(noise.column), rule });
            }
        }
    }
}

impl Column {
    fn new(hashing: Hashing, keys: &keys::KeyPair, bits: usize) -> Self {
        let (Strategy::PerToken(most) | Strategy::PerFeature(most)) = hashing.strategy;
        let words = bits.div_ceil(64);
        let n = match hashing.comparison {
            Comparison::Ngram { n, positional: false } => Some(n),
            _ => None,
        };
        let is_cheap = n.is_some() && matches!(hashing.format, Format::Text(_));
        let is_byte = matches!(hashing.charset, Charset::Ascii | Charset::Utf8);
        let hasher = Hasher::new(hashing.function, keys, most);
        // Objects that are made later would copy keys from the unused stack with their padding.
        wipe_stack();
        Self {
            token_bits: TokenBits::new(hasher, bits),
            hashing,
            tokens: Tokens::default(),
            values: (!is_cheap).then(|| Cache::new(words)),
            value_mask: Zeroizing::new(vec![0; words]),
            bytes: Zeroizing::default(),
            grams: n.filter(|_| is_byte).and_then(|n| Grams::new(n, bits)),
        }
    }

    /// Sets the bits of a value. `keys` are those of the record, if they differ from the keys of the column. Bits under
    /// the keys of a record are not cached, because few records share these keys.
    fn insert(
        &mut self,
        value: &str,
        keys: Option<&keys::KeyPair>,
        filter: &mut [u64],
    ) -> Result<(), String> {
        let values = self.values.as_ref().filter(|_| keys.is_none());
        let Some(values) = values else { return self.insert_cut(value, keys, filter) };
        let Some(key) = packed(value.as_bytes()) else { return self.insert_cut(value, keys, filter) };
        let vacancy = match values.find(key) {
            Ok(mask) => {
                add(mask, filter);
                return Ok(());
            }
            Err(vacancy) => vacancy,
        };
        let mut mask = std::mem::take(&mut self.value_mask);
        mask.fill(0);
        let inserted = self.insert_cut(value, keys, &mut mask);
        if inserted.is_ok() {
            add(&mask, filter);
            self.values.iter_mut().for_each(|values| values.keep(vacancy, &mask));
        }
        self.value_mask = mask;
        inserted
    }

    /// Cuts a value into tokens and sets their bits.
    fn insert_cut(
        &mut self,
        value: &str,
        keys: Option<&keys::KeyPair>,
        filter: &mut [u64],
    ) -> Result<(), String> {
        let hashing = &self.hashing;
        let text = hashing.normalized(value)?;
        if let Some(grams) = &mut self.grams
            && keys.is_none()
            && text.is_ascii()
        {
            let text = text.as_bytes();
            let (each, once_more) = hashing.strategy.insertions(grams.count(text));
            let insertions = Insertions { text, each, once_more };
            if grams.insert(&insertions, self.token_bits.hasher(), filter)? {
                return Ok(());
            }
        }
        self.tokens.cut(&text, &hashing.comparison)?;
        let (each, once_more) = hashing.strategy.insertions(self.tokens.len());
        let most = each + u32::from(once_more > 0);
        let salted = keys.map(|keys| Hasher::new(hashing.function, keys, most));
        for at in 0..self.tokens.len() {
            let token = self.tokens.get(at);
            self.bytes.clear();
            buffer::reserve(&mut self.bytes, Charset::bytes_max(token));
            hashing.charset.write(token, &mut self.bytes);
            let count = each + u32::from(at < once_more);
            match &salted {
                Some(hasher) => hasher.insert(&self.bytes, count, filter, self.token_bits.bits())?,
                None => self.token_bits.insert(&self.bytes, count, filter)?,
            }
        }
        Ok(())
    }
}

/// Sets the bits of a mask in a filter.
fn add(mask: &[u64], filter: &mut [u64]) {
    filter.iter_mut().zip(mask).for_each(|(word, mask)| *word |= mask);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// Values of many lengths, most of them ASCII.
    fn values() -> Vec<String> {
        let mut state = 7_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let letters: Vec<char> = "aabcdeeiors  -.'é".chars().collect();
        (0..150).map(|number| (0..number % 90).map(|_| letters[draw(letters.len())]).collect()).collect()
    }

    #[test]
    fn what_was_hashed_before_sets_the_same_bits() {
        for (bits, n, strategy, function) in [
            (512, 1, r#"{"bitsPerToken": 7}"#, "doubleHash"),
            (1024, 2, r#"{"bitsPerToken": 15}"#, "doubleHash"),
            (1024, 2, r#"{"bitsPerFeature": 200}"#, "blakeHash"),
            (2048, 2, r#"{"bitsPerFeature": 3000}"#, "doubleHash"),
            (2048, 1, r#"{"bitsPerFeature": 40}"#, "doubleHash"),
            (1024, 3, r#"{"bitsPerToken": 5}"#, "blakeHash"),
            (640, 2, r#"{"bitsPerToken": 5}"#, "doubleHash"),
        ] {
            let text = format!(
                r#"{{"version": 3, "clkConfig": {{"l": {bits}, "kdf": {{"type": "HKDF"}}}}, "features": [{{
                    "identifier": "name", "format": {{"type": "string"}},
                    "hashing": {{"comparison": {{"type": "ngram", "n": {n}}}, "strategy": {strategy},
                                 "hash": {{"type": "{function}"}}}}}}]}}"#
            );
            let schema = schema::read(&text).unwrap();
            let keys = keys::derive(&schema.keys, b"secret", 1);
            let column = || Column::new(schema.features[0].hashing.clone().unwrap(), &keys[0], bits);
            let mut column_with = column();
            let words = bits.div_ceil(64);
            for value in values() {
                // Without gram tables, and with empty caches.
                let mut column_without = Column { grams: None, ..column() };
                let (mut filter, mut expected) = (vec![1; words], vec![1; words]);
                column_with.insert(&value, None, &mut filter).unwrap();
                column_without.insert(&value, None, &mut expected).unwrap();
                assert!(filter == expected, "{value:?} in {text}");
            }
        }
    }
}
