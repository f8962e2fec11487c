//! From encodings to candidate pairs: the Dice coefficient, and the search for every pair at or above a threshold.
//!
//! [`search()`] compares two lists of records, [`compare()`] all tiles of a part of a run.

pub mod dice;
pub mod plan;

mod error;
mod footprint;
mod hit;
mod kernel;
mod rows;
mod tile;
mod columns;
mod decision;
mod pace;
mod parts;
mod signature;
mod matrix;
mod projection;
mod sample;
mod tuning;
mod packed;
mod sides;
mod watch;
mod sieve;
mod search;
mod compare;
#[cfg(test)]
mod agreement;
#[cfg(test)]
mod effort;
#[cfg(test)]
mod vectors;

pub use compare::{Compared, Job, compare};
pub use error::Error;
pub use hit::Hit;
pub use kernel::{Costs, Kernel, Linear, Name as KernelName, Unavailable};
pub use pace::expected_per_second;
pub use rows::Rows;
pub use search::search;
pub use sides::Sides;
pub use tile::Tile;
pub use tuning::{Tuning, TuningCell};
