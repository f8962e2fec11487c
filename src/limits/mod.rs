//! How much one client may ask for: requests a second and connections at a time, counted by network address.

mod census;
mod network;
mod rate;
mod requests;
mod table;

pub use census::{Census, Full, Present};
pub use network::Network;
pub use rate::Rate;
pub use requests::{Allowance, Class, Limits, Refusal, Settings};
