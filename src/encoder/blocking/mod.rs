//! Blocking: which records are compared at all, as the package `blocklib` 0.1 decides it.
//!
//! Two methods are there: P-Sig, which makes blocks of records that share a signature made of their values, and
//! lambda-fold, which samples bits of a filter several times. Block names are unkeyed hashes of personal data:
//! anyone who can guess a value can check the guess.

mod blocks;
mod config;
mod error;
mod flip;
mod lambda_fold;
mod psig;
mod signature;
mod statistics;

pub use self::blocks::Blocks;
pub use self::config::{Config, Method};
pub use self::error::Error;
pub use self::lambda_fold::LambdaFold;
pub use self::psig::{PSig, StrategyStatistics};
pub use self::statistics::Statistics;
