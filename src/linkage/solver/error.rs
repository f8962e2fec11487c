//! The errors of the solver.

use crate::pairs;

/// An error in solving pairs or writing a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are too many pairs, or they could not be read.
    #[error(transparent)]
    Pairs(#[from] pairs::Error),
    /// A pair names a record that does not exist: the pairs belong to other datasets.
    #[error("a candidate pair names record {record} of dataset {dataset}, which does not exist")]
    NoSuchRecord {
        /// The index of the dataset.
        dataset: u32,
        /// The index of the record.
        record: u32,
    },
    /// There are too many datasets, or they have too many records.
    #[error(
        "cannot solve {datasets} datasets with {records} records in total: the limits are 1024 and 4294967294"
    )]
    TooLarge {
        /// The number of datasets.
        datasets: usize,
        /// The number of records in all datasets.
        records: u64,
    },
}
