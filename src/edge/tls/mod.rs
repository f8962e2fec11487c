//! TLS for the listeners: certificates, their sources, and their renewal.
//!
//! A [`Tls`] has the current certificate. Each listener has an [`Acceptor`], which presents it to new connections. A
//! new certificate does not affect existing connections.

mod acceptor;
mod client;
mod current;
mod error;
mod pair;
mod provider;
mod self_signed;

pub use acceptor::Acceptor;
pub use client::{ClientCertificate, Trust, check_authorities, client, client_rejection, server_fault};
pub use current::{Mode, Settings, Source, Tls};
pub use error::Error;
pub use pair::{Found, look as inspect};
pub use provider::install_provider;
