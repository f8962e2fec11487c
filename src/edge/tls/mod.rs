//! TLS for the listeners: certificates, where they come from, and what happens when they change.
//!
//! A [`Tls`] holds what is presented now. Each listener has an [`Acceptor`] of it; every new connection is greeted
//! with what is current, and those under way keep what they began with.

mod acceptor;
mod current;
mod error;
mod pair;
mod provider;
mod self_signed;

pub use acceptor::Acceptor;
pub use current::{Mode, Settings, Source, Tls};
pub use error::Error;
pub use provider::install_provider;
