//! The addresses that a server listens on.

use std::net::SocketAddr;

/// The addresses that a server listens on.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) api: SocketAddr,
    pub(super) s3: SocketAddr,
    pub(super) ops: SocketAddr,
    /// The listener for workers, if there is one.
    pub(super) workers: Option<SocketAddr>,
}
