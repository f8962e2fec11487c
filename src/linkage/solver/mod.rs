//! From pairs to groups; from groups to a permutation and a mask, or to the JSON for clients.
//!
//! [`solve`] takes pairs in [`Pair`](crate::pairs::Pair) order, each once, as a stream.

mod datasets;
mod definition;
mod edges;
mod error;
mod greedy;
mod group_pairs;
mod groups;
mod json;
mod mask;
mod permutation;
#[cfg(test)]
mod vectors;

pub use datasets::Record;
pub use definition::by_definition;
pub use error::Error;
pub use greedy::solve;
pub use groups::Groups;
pub use json::{write_groups, write_groups_with_scores, write_mask, write_permutation, write_scores};
pub use permutation::{Permutations, SEED_BYTES};
