//! Blocking: decides which records are compared, as the package `blocklib` 0.1 does.
//!
//! There are two methods. P-Sig makes a signature of the values of each record; records with the same signature form a
//! block. Lambda-fold samples bits of each record's filter several times; each time, records with the same bits form a
//! block. Block names are unkeyed hashes of personal data: anyone who can guess a value can verify the guess.

mod batch;
mod blocks;
mod config;
mod error;
mod flip;
mod grouping;
mod key;
mod lambda_fold;
mod md5_lanes;
mod metaphone;
mod names;
mod numbering;
mod psig;
mod signature;
mod statistics;
mod texts;

pub use self::blocks::{Blocks, ByRecord};
pub use self::config::{Config, Method};
pub use self::error::Error;
pub use self::lambda_fold::LambdaFold;
pub use self::names::Names;
pub use self::psig::{PSig, StrategyStatistics};
pub use self::statistics::Statistics;
