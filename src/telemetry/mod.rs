//! Log lines and metrics of the process.

mod chain;
pub mod log;
pub mod metrics;
pub mod process;

pub use chain::chain;
