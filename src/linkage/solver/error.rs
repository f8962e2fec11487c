//! Why there is no solution.

use crate::linkage::pairs;

/// Why pairs could not be solved or written as a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pairs are too many, or could not be read.
    #[error(transparent)]
    Pairs(#[from] pairs::Error),
    /// A pair names a record that does not exist: the pairs belong to other datasets.
    #[error("a candidate pair names record {record} of dataset {dataset}, which does not exist")]
    NoSuchRecord {
        /// Index of the dataset.
        dataset: u32,
        /// Index of the record.
        record: u32,
    },
    /// The datasets are more, or larger, than can be solved at once.
    #[error(
        "cannot solve {datasets} datasets with {records} records in total: the limits are 1024 and 4294967294"
    )]
    TooLarge {
        /// How many datasets.
        datasets: usize,
        /// How many records in all of them.
        records: u64,
    },
}
