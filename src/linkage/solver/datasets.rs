//! Numbers the records of all datasets consecutively, dataset 0 first.

use super::Error;
use crate::pairs::Pair;

/// One record of one dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// The index of the dataset.
    pub dataset: u32,
    /// The index of the record in the dataset.
    pub index: u32,
}

/// The value that means "no record".
pub(super) const NONE: u32 = u32::MAX;

/// The offset of each dataset among all records.
#[derive(Clone, Debug)]
pub(super) struct Datasets {
    /// `starts[d]..starts[d + 1]` are the records of dataset `d`.
    starts: Vec<u32>,
}

impl Datasets {
    /// Returns the numbering for datasets of these sizes.
    pub(super) fn new(sizes: &[u32]) -> Result<Self, Error> {
        let records: u64 = sizes.iter().copied().map(u64::from).sum();
        if records >= u64::from(NONE) || sizes.len() > super::mask::DATASETS_MAX {
            return Err(Error::TooLarge { datasets: sizes.len(), records });
        }
        let ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        Ok(Self { starts: std::iter::once(0).chain(ends).collect() })
    }

    /// Returns the number of datasets.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the number of records in all datasets.
    #[inline]
    pub(super) fn records(&self) -> u32 {
        *self.starts.last().expect("the end of the last dataset, or 0")
    }

    /// Returns the number of records in dataset `dataset`.
    #[inline]
    pub(super) fn size(&self, dataset: usize) -> u32 {
        self.starts[dataset + 1] - self.starts[dataset]
    }

    /// Returns the number of a record among all records.
    #[inline]
    pub(super) fn number(&self, dataset: u32, record: u32) -> Result<u32, Error> {
        let refused = Error::NoSuchRecord { dataset, record };
        let (start, end) = match self.starts.get(dataset as usize..) {
            Some([start, end, ..]) => (*start, *end),
            _ => return Err(refused),
        };
        if record < end - start { Ok(start + record) } else { Err(refused) }
    }

    /// Returns the numbers of both records of a pair among all records.
    #[inline]
    pub(super) fn numbers(&self, pair: &Pair) -> Result<[u32; 2], Error> {
        let number = |side: usize| self.number(pair.datasets[side], pair.records[side]);
        Ok([number(0)?, number(1)?])
    }

    /// Returns the record with this number.
    #[inline]
    pub(super) fn record(&self, number: u32) -> Record {
        // Empty datasets share their start with the next one: take the last with this start.
        let dataset = self.starts.partition_point(|start| *start <= number) - 1;
        Record { dataset: dataset as u32, index: number - self.starts[dataset] }
    }
}
