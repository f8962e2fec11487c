//! A worker on another machine: its jobs and objects come from API nodes.
//!
//! [`Nodes`] calls the API nodes, [`RemoteSource`] is the source of jobs, and [`RemoteStore`] the store of objects.

mod courier;
mod error;
mod tickets;
mod join_token;
mod nodes;
mod source;
mod store;

pub use error::CallError;
pub use join_token::JoinToken;
pub use nodes::{JoinSettings, Nodes, SetupError};
pub use source::RemoteSource;
pub use store::{Area, RemoteStore};
