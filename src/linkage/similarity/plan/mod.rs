//! The **plan** of a run: the records that are compared with each other, cut into parts of about the same work.
//!
//! For every block and every two datasets that both have it, all records of the one are compared with all of the
//! other. A comparison larger than a part is cut into a grid, in which each cell is a part; smaller ones are bundled.
//!
//! # The plan, version 1
//!
//! Little-endian throughout, sections one after the other without gaps:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | magic `entdplan` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | number of datasets *d* |
//! | 16 | 8 | threshold, f64 |
//! | 24 | 8 | target number of comparisons in a part |
//! | 32 | 8 | comparisons in all parts (2⁶⁴ − 1 if there are more) |
//! | 40 | 8 | number of parts *p* |
//! | 48 | 8 | number of entries *e* |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC-32 of bytes 0 to 59, the datasets and the parts |
//! | 64 | 8·*d* | datasets: records (u32) and encoding size in bytes (u32) of each |
//! | | 24·*p* | parts |
//! | | 32·*e* | entries, part by part |
//!
//! | part | size | content | | entry | size | content |
//! |---|---|---|---|---|---|---|
//! | 0 | 8 | index of the first entry | | 0 | 4 | left dataset |
//! | 8 | 4 | number of entries | | 4 | 4 | right dataset, the higher one |
//! | 12 | 8 | comparisons in it | | 8 | 8 | left: first row or id, and form |
//! | 20 | 4 | CRC-32 of its entries | | 16 | 8 | right: the same |
//! | | | | | 24 | 4 | left: number of records, at least 1 |
//! | | | | | 28 | 4 | right: the same |
//!
//! The form is the highest bit: if it is set, the records are consecutive rows; otherwise they are listed in the
//! dataset's block index.

mod build;
mod cut;
mod entry;
mod largest;
mod layout;
mod stored;

#[cfg(test)]
mod tests;

pub use build::{Planned, build, largest_blocks};
pub use entry::Entry;
pub use largest::LargestBlocks;
pub use layout::{Dataset, Part, Plan, PlanHeader};
pub use stored::Stored;
