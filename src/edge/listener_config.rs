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
    /// Encrypts connections; `None` if the listener does not use TLS.
    pub tls: Option<tls::Acceptor>,
    /// Counts connections.
    pub connection_limiter: Arc<ConnectionLimiter>,
    /// The proxies that may report the address of the client.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Limits requests.
    pub rate_limit: Option<RateLimit>,
    /// The timeouts for a client.
    pub timeouts: Timeouts,
    /// The random numbers for request ids.
    pub entropy: Entropy,
    /// Makes the response to an ambiguous request, which reaches no handler.
    pub refuse: fn(StatusCode, &'static str) -> Response,
}

impl ListenerConfig {
    /// Counts a connection. A connection of a trusted proxy is attributed to no address, since it serves many clients.
    pub(super) fn count(&self, peer: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        self.connection_limiter.enter((!self.trusted_proxies.trusts(peer)).then_some(peer))
    }
}
