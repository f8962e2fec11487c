//! What the process says about itself: log lines, and figures for a monitor.

mod chain;
pub mod log;
pub mod metrics;
pub mod process;

pub use chain::chain;
