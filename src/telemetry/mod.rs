//! What the process says about itself: log lines.

mod chain;
pub mod log;

pub use chain::chain;
