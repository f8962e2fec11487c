//! Encodings become candidate pairs: the Dice coefficient, and the search for every pair above a threshold.
//!
//! [`search()`] looks at two lists of records, [`compare()`] at all tiles of a part of a run.

pub mod dice;
pub mod tile;

mod columns;
mod compare;
mod decision;
mod error;
mod kernel;
mod pace;
mod packed;
mod parts;
mod rows;
mod search;
mod sides;
mod sieve;
mod tuning;
#[cfg(test)]
mod agreement;
#[cfg(test)]
mod vectors;

pub use compare::{Compared, Job, Tile, compare};
pub use error::Error;
pub use kernel::{Kernel, Name as KernelName, Unavailable};
pub use pace::expected_per_second;
pub use rows::Rows;
pub use search::{Hit, search};
pub use sides::Sides;
pub use tuning::{Tuning, TuningCell};
