//! Limits the rate of requests of each client, which is identified by its network address.

mod limits;
mod middleware;
mod rate;
mod state_store;

pub use limits::{Allowance, Class, Limits, Refusal, Settings};
pub use middleware::RateLimit;
pub use rate::Rate;
