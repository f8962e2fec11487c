//! Blocking: decides which records are compared, as the package `blocklib` 0.1 does.
//!
//! There are two methods: P-Sig, which makes blocks of records that share a signature made of their values, and
//! lambda-fold, which samples bits of a filter several times. Block names are unkeyed hashes of personal data: anyone
//! who can guess a value can verify the guess.

mod blocks;
mod config;
mod error;
mod flip;
mod grouping;
mod lambda_fold;
mod metaphone;
mod psig;
mod signature;
mod statistics;
mod texts;

pub use self::blocks::{Blocks, ByRecord};
pub use self::config::{Config, Method};
pub use self::error::Error;
pub use self::lambda_fold::LambdaFold;
pub use self::psig::{PSig, StrategyStatistics};
pub use self::statistics::Statistics;
pub use self::texts::Texts;
