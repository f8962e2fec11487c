//! The network edge, independent of the domain: listeners with TLS, the address of a client behind proxies, limits on
//! connections and requests, timeouts, request ids, traces and the access log.
//!
//! [`connection_limit`] counts each connection. If a trusted proxy opened it, the proxy may report the client
//! ([`client_ip`], [`proxy_protocol`]). Then follow the [`tls`] handshake, if the listener uses TLS, and requests in
//! HTTP/1.1 or HTTP/2. [`rate_limit`] counts each request. A client that is too slow is disconnected ([`activity`],
//! [`timeouts`]).

mod access_log;
mod activity;
mod ambiguous;
mod client_ip;
mod connection;
mod connection_limit;
mod forwarded;
mod lingering_close;
mod listener;
mod listener_config;
mod network;
mod proxy_protocol;
mod public_address;
pub mod rate_limit;
mod request_id;
mod timeouts;
pub mod tls;
mod trace;
mod tracked_body;
mod tracked_stream;

pub use access_log::{AccessLog, UNKNOWN_ROUTE};
pub use client_ip::{ClientIp, ForwardedHost, ProxyHeader, TrustedProxies};
pub use connection_limit::ConnectionLimiter;
pub use listener::serve;
pub use listener_config::ListenerConfig;
pub use public_address::{BasePath, PublicAddress, PublicHost};
pub use request_id::{RequestId, WithRequestId};
pub use timeouts::{Stalled, Timeouts};
