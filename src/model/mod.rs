//! The nouns: plain data, checked when it is made.

pub mod ids;
pub mod threshold;
pub mod token;

pub use ids::{ProjectId, RunId};
pub use threshold::Threshold;
pub use token::{Token, TokenHash};
