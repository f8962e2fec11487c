//! P-Sig: records that share a signature are in a block. Blocks whose size the filter rejects are left out.

use super::blocks::Blocks;
use super::error::Error;
use super::flip::flipped;
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
    /// The column with the number of the record, if rows are not counted.
    pub(super) record_column: Option<usize>,
}

/// The sizes of blocks that are kept, excluding the limits themselves.
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
    strategies: Vec<Blocks>,
    rows: usize,
}

/// The statistics of one strategy.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct StrategyStatistics {
    /// Figures of its blocks.
    #[serde(flatten)]
    pub blocks: Statistics,
    /// Records that are in none.
    pub num_filtered_elements: usize,
    /// The share of records that are in one.
    pub coverage: f64,
}

impl PSig {
    /// Begins to make blocks.
    pub fn begin(&self) -> Building<'_> {
        let strategies = self.strategies.iter().map(|_| Blocks::default()).collect();
        Building { settings: self, strategies, rows: 0 }
    }
}

impl Building<'_> {
    /// Adds the record of a row; blanks around its values do not count.
    ///
    /// # Errors
    /// [`Error::Row`], without the value.
    pub fn add(&mut self, row: &[&str]) -> Result<(), Error> {
        let record = match self.settings.record_column {
            None => self.rows as u64,
            Some(column) => record_number(row, column)?,
        };
        for (number, (parts, blocks)) in self.settings.strategies.iter().zip(&mut self.strategies).enumerate()
        {
            blocks.add(signature(number, parts, row)?, record);
        }
        self.rows += 1;
        Ok(())
    }

    /// The blocks, and the figures of each strategy.
    ///
    /// # Errors
    /// [`Error::Nothing`].
    pub fn finish(self) -> Result<(Blocks, Vec<StrategyStatistics>), Error> {
        let (mut blocks, mut figures) = (Blocks::default(), Vec::new());
        for strategy in &self.strategies {
            let kept: Vec<_> = strategy
                .iter()
                .filter(|(_, records)| self.settings.filter.keeps(records.len(), self.rows))
                .collect();
            let sizes = Statistics::of_sizes(kept.iter().map(|(_, records)| records.len()).collect());
            figures.push(StrategyStatistics {
                blocks: sizes,
                num_filtered_elements: self.rows - sizes.sum_of_blocks,
                coverage: sizes.sum_of_blocks as f64 / self.rows.max(1) as f64,
            });
            for (signature, records) in kept {
                let mut set = Set::new();
                flipped(signature, self.settings.bits, self.settings.functions).for_each(|bit| set.add(bit));
                blocks.entry(set.to_tuple()).extend(records);
            }
        }
        if blocks.is_empty() {
            return Err(Error::Nothing);
        }
        Ok((blocks, figures))
    }
}

fn signature(number: usize, parts: &[Part], row: &[&str]) -> Result<String, Error> {
    let mut made = Vec::with_capacity(parts.len());
    for part in parts {
        let column = part.column();
        let value =
            row.get(column).ok_or_else(|| Error::Row(format!("there is no column {}", column + 1)))?;
        let refuse = || Error::Row(format!("column {}: the value has no such character", column + 1));
        made.extend(part.of(value).ok_or_else(refuse)?);
    }
    Ok(format!("{number}_{}", made.join("_")))
}
