//! Log lines and metrics of the process.

mod chain;
pub mod log;
mod log_throttle;
pub mod metrics;
pub mod process;
pub mod recent;

pub use chain::chain;
pub use log_throttle::LogThrottle;
