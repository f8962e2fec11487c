//! Profiles of columns: how well a column tells people apart.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::csv::Batch;
use super::schema::{Feature, Schema};

/// The number of lengths that are listed for a column.
const LENGTHS: usize = 3;

/// Counts the values of the encoded columns of a table.
pub struct Profiler<'a> {
    schema: &'a Schema,
    hasher: RandomState,
    counts: Vec<Counts>,
    rows: u64,
}

/// The counts of the values of one column, by hash, and of their lengths.
#[derive(Default)]
struct Counts {
    values: HashMap<u64, u64>,
    lengths: HashMap<usize, u64>,
    missing: u64,
}

/// The statistics of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name of the column.
    pub identifier: String,
    /// The number of distinct values.
    pub distinct: usize,
    /// Shannon entropy of the values in bits.
    pub entropy: f64,
    /// The share of rows without a value.
    pub missing: f64,
    /// The share of rows with the most frequent value.
    pub most_frequent: f64,
    /// The most frequent lengths in characters, and the share of rows with each.
    pub lengths: Vec<(usize, f64)>,
}

impl<'a> Profiler<'a> {
    /// Counts the columns of this schema.
    pub fn new(schema: &'a Schema) -> Self {
        let counts = schema.features.iter().map(|_| Counts::default()).collect();
        Self { schema, hasher: RandomState::new(), counts, rows: 0 }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The line of a row with the wrong number of columns, and the rule that it breaks.
    pub fn add(&mut self, batch: &Batch) -> Result<(), (u64, String)> {
        let expected = self.schema.features.len();
        for row in (0..batch.len()).map(|at| batch.row(at)) {
            if row.len() != expected {
                let rule = format!("the row has {} columns; the schema has {expected}", row.len());
                return Err((row.line(), rule));
            }
            self.rows += 1;
            for ((value, counts), feature) in row.fields().zip(&mut self.counts).zip(&self.schema.features) {
                if feature.hashing.is_some() {
                    counts.add(value, self.hasher.hash_one(value), feature);
                }
            }
        }
        Ok(())
    }

    /// The profiles of the encoded columns.
    pub fn finish(&self) -> Vec<Profile> {
        let columns = self.schema.features.iter().zip(&self.counts);
        let encoded = columns.filter(|(feature, _)| feature.hashing.is_some());
        encoded.map(|(feature, counts)| counts.profile(&feature.identifier, self.rows as f64)).collect()
    }

    /// The number of rows.
    pub const fn rows(&self) -> u64 {
        self.rows
    }
}

impl Counts {
    fn add(&mut self, value: &str, hash: u64, feature: &Feature) {
        if value.is_empty() || feature.is_missing(value) {
            self.missing += 1;
        }
        *self.values.entry(hash).or_default() += 1;
        *self.lengths.entry(value.chars().count()).or_default() += 1;
    }

    fn profile(&self, identifier: &str, rows: f64) -> Profile {
        let share = |count: u64| if rows > 0.0 { count as f64 / rows } else { 0.0 };
        let surprise = |count: &u64| -share(*count) * share(*count).log2();
        let mut lengths: Vec<(usize, u64)> =
            self.lengths.iter().map(|(length, count)| (*length, *count)).collect();
        lengths.sort_unstable_by_key(|(length, count)| (std::cmp::Reverse(*count), *length));
        Profile {
            identifier: identifier.to_owned(),
            distinct: self.values.len(),
            entropy: self.values.values().map(surprise).fold(0.0, |sum, bits| sum + bits).max(0.0),
            missing: share(self.missing),
            most_frequent: share(self.values.values().max().copied().unwrap_or(0)),
            lengths: lengths
                .into_iter()
                .take(LENGTHS)
                .map(|(length, count)| (length, share(count)))
                .collect(),
        }
    }
}

impl Profile {
    /// Returns a reason if the column hardly tells people apart.
    pub fn weakness(&self) -> Option<&'static str> {
        match self {
            Self { distinct: 0, .. } => Some("there are no values"),
            Self { distinct: 1, .. } => Some("all values are equal"),
            Self { missing, .. } if *missing > 0.2 => Some("many values are missing"),
            Self { entropy, .. } if *entropy < 3.0 => Some("few distinct values"),
            Self { most_frequent, .. } if *most_frequent > 0.1 => Some("one value is very frequent"),
            _ => None,
        }
    }
}
