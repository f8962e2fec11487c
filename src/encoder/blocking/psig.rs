//! P-Sig: records that share a signature form a block. The filter drops blocks that are too small or too large.

use zeroize::Zeroizing;

use super::blocks::{Blocks, Builder};
use super::error::Error;
use super::flip::Flips;
use super::grouping::{Grouping, Groups};
use super::key::Writer;
use super::names::{Names, Tuples};
use super::signature::{Part, record_number};
use super::statistics::Statistics;
use super::texts::List;
use crate::python::sets::Set;

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
    /// The signature that is being made.
    signature: Writer,
}

/// A strategy under construction.
struct Strategy {
    /// The beginning of its signatures.
    prefix: Writer,
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
        let strategy = |number| Strategy {
            prefix: Writer::of(format!("{number}_").as_bytes()),
            grouping: Grouping::new(),
        };
        let strategies = (0..self.strategies.len()).map(strategy).collect();
        Building { settings: self, strategies, records: Vec::new(), rows: 0, signature: Writer::default() }
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
        for (parts, Strategy { prefix, grouping }) in strategies {
            self.signature.restart(prefix);
            sign(parts, row, &mut self.signature)?;
            grouping.add(self.signature.key());
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
        let (mut set, mut flips, mut packed) = (Set::new(), Vec::new(), Zeroizing::new(Vec::new()));
        let strategies: Vec<Groups> =
            strategies.into_iter().map(|strategy| strategy.grouping.finish()).collect();
        let keeps = |size: usize| settings.filter.keeps(size, rows);
        let room = strategies.iter().map(|groups| kept_sizes(groups, keeps).count()).sum();
        let numbers_max = settings.functions.min(settings.bits) as usize;
        let tuples = Tuples::new(settings.bits, numbers_max, room);
        let (mut figures, mut builder) = (Vec::new(), Builder::new(tuples, room));
        for groups in strategies {
            let blocks = Statistics::of_sizes(kept_sizes(&groups, keeps));
            figures.push(StrategyStatistics {
                blocks,
                num_filtered_elements: rows - blocks.sum_of_blocks,
                coverage: blocks.sum_of_blocks as f64 / rows.max(1) as f64,
            });
            builder.add(groups, keeps, |keys, groups, names, numbers| {
                Flips::of_all(
                    groups.iter().map(|group| keys.key(*group as usize)),
                    settings.bits,
                    &mut flips,
                );
                names.list().empty(flips.len(), &mut packed);
                let tuple_bytes = names.list().tuple_bytes();
                for (flips, tuple) in flips.iter().zip(packed.chunks_exact_mut(tuple_bytes)) {
                    set.clear();
                    flips.iter(settings.bits, settings.functions).for_each(|bit| set.add(bit));
                    names.list().pack(&set, tuple);
                }
                names.number_all(packed.chunks_exact(tuple_bytes), numbers);
            });
        }
        let blocks = builder.finish(records, Names::Tuples);
        if blocks.is_empty() {
            return Err(Error::Nothing);
        }
        Ok((blocks, figures))
    }
}

/// Returns the sizes of the groups, without those that `keeps` rejects.
fn kept_sizes(groups: &Groups, keeps: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    groups.sizes.iter().map(|size| *size as usize).filter(move |size| keeps(*size))
}

/// Returns the value that a part is made of.
fn value<'a>(part: &Part, row: &[&'a str]) -> Result<&'a str, Error> {
    let column = part.column();
    row.get(column).copied().ok_or_else(|| Error::Row(format!("there is no column {}", column + 1)))
}

/// Appends the signature of a row to the number of its strategy.
fn sign(parts: &[Part], row: &[&str], signature: &mut Writer) -> Result<(), Error> {
    let mut is_first = true;
    for part in parts {
        let value = value(part, row)?;
        if part.exists(value) {
            if !std::mem::take(&mut is_first) {
                signature.push_byte(b'_');
            }
            part.write(value, signature).ok_or_else(|| {
                Error::Row(format!("column {}: the value is too short for a position", part.column() + 1))
            })?;
        }
    }
    if signature.is_too_long() { Err(Error::Row("the signature is too long".to_owned())) } else { Ok(()) }
}
