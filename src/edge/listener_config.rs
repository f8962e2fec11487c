//! The settings and shared state of a listener.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;

use super::client_ip::TrustedProxies;
use super::connection_limit::{ConnectionLimiter, ConnectionPermit, LimitReached};
use super::rate_limit::RateLimit;
use super::timeouts::Timeouts;
use super::tls;
use crate::runtime::entropy::Entropy;

/// The settings and shared state of a listener. Cheap to clone.
#[derive(Clone)]
pub struct ListenerConfig {
    /// Encrypts connections; without it, anyone on the network path can read and change them.
    pub tls: Option<tls::Acceptor>,
    /// Counts connections.
    pub connection_limiter: Arc<ConnectionLimiter>,
    /// The proxies whose reports of the client's address are trusted.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Limits requests.
    pub rate_limit: Option<RateLimit>,
    /// The timeouts for a client.
    pub timeouts: Timeouts,
    /// Makes request ids.
    pub entropy: Entropy,
    /// Makes the response to an ambiguous request, which no handler sees.
    pub refuse: fn(StatusCode, &'static str) -> Response,
}

impl ListenerConfig {
    /// Counts a connection. One of a trusted proxy counts for no address, since it carries many clients.
    pub(super) fn count(&self, peer: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        self.connection_limiter.enter((!self.trusted_proxies.trusts(peer)).then_some(peer))
    }
}
