//! What the process says about itself: log lines.

pub mod log;
