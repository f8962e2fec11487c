//! Encodings become candidate pairs: the Dice coefficient, and the search for every pair above a threshold.
//!
//! [`search()`] looks at two lists of records, [`compare()`] at all tiles of a part of a run.

pub mod dice;
pub mod tile;

mod compare;
mod decision;
mod error;
mod rows;
mod search;
#[cfg(test)]
mod vectors;

pub use compare::{Compared, Job, Tile, compare};
pub use error::Error;
pub use rows::Rows;
pub use search::{Hit, search};
