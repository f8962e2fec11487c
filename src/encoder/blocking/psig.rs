//! P-Sig: records that share a signature form a block. The filter drops blocks that are too small or too large.

use zeroize::Zeroizing;

use super::blocks::{Blocks, Builder};
use super::error::Error;
use super::flip::flipped;
use super::grouping::Grouping;
use super::signature::{Part, record_number};
use super::statistics::Statistics;
use crate::encoder::python::sets::Set;

/// The settings of P-Sig.
#[derive(Clone, Debug)]
pub struct PSig {
    pub(super) strategies: Vec<Vec<Part>>,
    pub(super) filter: Filter,
    pub(super) functions: u32,
    pub(super) bits: u32,
    /// The column with the record number; `None` if the number of the row is used.
    pub(super) record_column: Option<usize>,
}

/// The limits on the size of a block. Both are exclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) is_ratio: bool,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Filter {
    fn keeps(self, size: usize, records: usize) -> bool {
        let whole = if self.is_ratio { records as f64 } else { 1.0 };
        whole * self.most > size as f64 && size as f64 > whole * self.least
    }
}

/// Blocks under construction.
pub struct Building<'a> {
    settings: &'a PSig,
    strategies: Vec<Strategy>,
    /// The record numbers; empty if the number of the row is used.
    records: Vec<u64>,
    rows: usize,
    signature: Zeroizing<String>,
}

/// A strategy under construction.
struct Strategy {
    /// The beginning of its signatures.
    prefix: String,
    grouping: Grouping,
}

/// The statistics of one strategy.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct StrategyStatistics {
    /// The statistics of its blocks.
    #[serde(flatten)]
    pub blocks: Statistics,
    /// The number of records that are in no block.
    pub num_filtered_elements: usize,
    /// The share of records that are in a block.
    pub coverage: f64,
}

impl PSig {
    /// Starts to collect records.
    pub fn begin(&self) -> Building<'_> {
        let strategy = |number| Strategy { prefix: format!("{number}_"), grouping: Grouping::default() };
        let strategies = (0..self.strategies.len()).map(strategy).collect();
        Building { settings: self, strategies, records: Vec::new(), rows: 0, signature: Zeroizing::default() }
    }
}

impl Building<'_> {
    /// Adds the record of a row. The values must be trimmed.
    ///
    /// # Errors
    /// [`Error::Row`], without the value.
    pub fn add(&mut self, row: &[&str]) -> Result<(), Error> {
        if let Some(column) = self.settings.record_column {
            self.records.push(record_number(row, column)?);
        }
        let strategies = self.settings.strategies.iter().zip(&mut self.strategies);
        for (parts, strategy) in strategies {
            self.signature.clear();
            self.signature.push_str(&strategy.prefix);
            sign(parts, row, &mut self.signature)?;
            strategy.grouping.add(&self.signature);
        }
        self.rows += 1;
        Ok(())
    }

    /// Returns the blocks, and the statistics of each strategy.
    ///
    /// # Errors
    /// [`Error::Nothing`].
    pub fn finish(self) -> Result<(Blocks, Vec<StrategyStatistics>), Error> {
        let Self { settings, strategies, records, rows, .. } = self;
        let (mut set, mut figures, mut builder) = (Set::new(), Vec::new(), Builder::default());
        for Strategy { grouping, .. } in strategies {
            let mut sizes = Vec::new();
            builder.add(grouping.finish(), |grouping, group, name| {
                let is_kept = settings.filter.keeps(grouping.size(group), rows);
                if is_kept {
                    sizes.push(grouping.size(group));
                    set.clear();
                    flipped(grouping.keys().get(group as usize), settings.bits, settings.functions)
                        .for_each(|bit| set.add(bit));
                    set.write_tuple(name);
                }
                is_kept
            });
            let blocks = Statistics::of_sizes(sizes);
            figures.push(StrategyStatistics {
                blocks,
                num_filtered_elements: rows - blocks.sum_of_blocks,
                coverage: blocks.sum_of_blocks as f64 / rows.max(1) as f64,
            });
        }
        let blocks = builder.finish(|row| records.get(row).copied().unwrap_or(row as u64));
        if blocks.is_empty() {
            return Err(Error::Nothing);
        }
        Ok((blocks, figures))
    }
}

/// Appends the signature of a row to the number of its strategy.
fn sign(parts: &[Part], row: &[&str], signature: &mut String) -> Result<(), Error> {
    let start = signature.len();
    for part in parts {
        let column = part.column();
        let value =
            row.get(column).ok_or_else(|| Error::Row(format!("there is no column {}", column + 1)))?;
        let refuse = || Error::Row(format!("column {}: the value is too short for a position", column + 1));
        let before = signature.len();
        if part.write(value, signature).ok_or_else(refuse)? {
            signature.push('_');
        } else {
            signature.truncate(before);
        }
    }
    if signature.len() > start {
        signature.pop();
    }
    Ok(())
}
