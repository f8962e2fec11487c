//! Candidate pairs: their order, their stored form, sorted runs of them, and the merge of many runs.
//!
//! A *sorted run* is a file of pairs in ascending [`Pair`] order without duplicates. [`Sorter`] makes one from
//! pairs in any order; [`merge_runs`] merges many into one stream.

mod dense;
mod error;
mod file;
mod limit;
mod merge;
mod pair;
mod sorter;
#[cfg(test)]
mod vectors;

pub use error::Error;
pub use file::{DENSE_HEADER, ENTRY_BYTES, HEADER, Reader, Version, Writer};
pub use limit::limited;
pub use merge::{Merge, Run, merge_runs};
pub use pair::Pair;
pub use sorter::{PAIRS_BUFFERED, Sorter};
