//! Lambda-fold: for each of several tables, a few bits of each record's filter are drawn; records with the same bits
//! are in a block.

use num_bigint::BigUint;

use super::blocks::Blocks;
use super::error::Error;
use super::flip::flipped;
use super::signature::record_number;
use crate::encoder::python::base64;
use crate::encoder::python::random::Random;

/// The settings of lambda-fold.
#[derive(Clone, Debug)]
pub struct LambdaFold {
    /// The columns whose values are joined.
    pub(super) columns: Vec<usize>,
    pub(super) tables: u32,
    pub(super) bits: u32,
    pub(super) functions: u32,
    /// Bits that are drawn for a table.
    pub(super) drawn: u32,
    pub(super) seed: BigUint,
    /// The records are encodings already.
    pub(super) takes_encodings: bool,
    pub(super) record_column: Option<usize>,
}

/// Blocks under construction.
pub struct Building<'a> {
    settings: &'a LambdaFold,
    filters: Vec<(u64, Vec<u8>)>,
}

impl LambdaFold {
    /// Begins to make blocks.
    pub const fn begin(&self) -> Building<'_> {
        Building { settings: self, filters: Vec::new() }
    }
}

impl Building<'_> {
    /// Adds the record of a row; blanks around its values do not count.
    ///
    /// # Errors
    /// [`Error::Row`], without the value.
    pub fn add(&mut self, row: &[&str]) -> Result<(), Error> {
        let record = match self.settings.record_column {
            None => self.filters.len() as u64,
            Some(column) => record_number(row, column)?,
        };
        let mut text = String::new();
        for column in &self.settings.columns {
            let missing = || Error::Row(format!("there is no column {}", column + 1));
            text.push_str(row.get(*column).ok_or_else(missing)?);
        }
        self.filters.push((record, self.filter(&text)));
        Ok(())
    }

    /// Adds a record that is encoded, in base64.
    ///
    /// # Errors
    /// [`Error::Row`]
    pub fn add_encoding(&mut self, text: &str) -> Result<(), Error> {
        let encoding = base64::decode(text).map_err(|rule| Error::Row(rule.to_owned()))?;
        self.filters.push((self.filters.len() as u64, encoding));
        Ok(())
    }

    fn filter(&self, text: &str) -> Vec<u8> {
        let mut filter = vec![0; (self.settings.bits as usize).div_ceil(8)];
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for bigram in starts.windows(3) {
            for bit in flipped(&text[bigram[0]..bigram[2]], self.settings.bits, self.settings.functions) {
                filter[bit as usize / 8] |= 0x80 >> (bit % 8);
            }
        }
        filter
    }

    /// The blocks.
    ///
    /// # Errors
    /// [`Error`]
    pub fn finish(self) -> Result<Blocks, Error> {
        let first = self.filters.first().ok_or(Error::Nothing)?;
        let bits = if self.settings.takes_encodings { first.1.len() as u32 * 8 } else { self.settings.bits };
        let drawn = self.settings.drawn;
        if drawn > bits {
            return Err(Error::Row(format!("K is {drawn}, and a filter has {bits} bits")));
        }
        let mut random = Random::seeded(&self.settings.seed);
        let mut blocks = Blocks::default();
        for table in 0..self.settings.tables {
            let places = random.sample(bits, drawn);
            for (record, filter) in &self.filters {
                let bit = |at: &u32| filter.get(*at as usize / 8).map(|byte| byte << (at % 8) & 0x80 != 0);
                let key: Option<String> =
                    places.iter().map(|at| Some(if bit(at)? { '1' } else { '0' })).collect();
                let key = key.ok_or_else(|| Error::Row("the encodings differ in size".to_owned()))?;
                blocks.add(format!("{table}{key}"), *record);
            }
        }
        Ok(blocks)
    }
}
