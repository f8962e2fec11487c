//! Encodes tables of people: linkage schemas, CSV, tokens, keys and filters.
//!
//! The bits are those of the package `clkhash` 0.18.3, quirks included. [`schema`] defines the encoding of each
//! column, [`csv`] reads the rows, and [`stream`] encodes them in order as it reads. Memory is bounded, regardless of
//! the size of the file. Secrets and values derived from them are overwritten when they are dropped.

pub mod blocking;
mod buffer;
mod cache;
pub mod csv;
mod format;
mod folding;
mod grams;
mod hardening;
mod hash;
mod json;
mod keys;
pub mod profile;
mod python;
mod record;
pub mod schema;
pub mod statistics;
pub mod stream;
mod table_hash;
mod token_bits;
mod tokens;

pub use self::buffer::wipe_stack;
