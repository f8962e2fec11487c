//! The algorithms: from encodings to candidate pairs, groups and permutations. They are deterministic: they draw no
//! random numbers of their own and use no async. The only clock measures what loops cost, and no result depends on
//! it.

pub mod scratch;
pub mod encoding;
pub mod similarity;
pub mod pairs;
pub mod solver;
pub mod forecast;

#[cfg(test)]
mod fixtures;
