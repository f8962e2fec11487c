//! The record of a request in the access log.

use std::fmt;
use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{Method, Uri};
use tracing::field::DisplayValue;

use super::client_ip::ClientIp;

/// The route label of a request that matches no route.
pub const UNKNOWN_ROUTE: &str = "none";

/// The access-log record of a request. If it is dropped before [`AccessLog::answered`] is called, it logs that the
/// client disconnected.
pub struct AccessLog {
    method: &'static str,
    uri: Uri,
    /// Returns the part of a path that may be logged.
    shown: fn(&str) -> String,
    client: Option<IpAddr>,
    answered: bool,
}

impl AccessLog {
    /// Begins the record of a request. `shown` returns the part of a path that may be logged.
    pub fn of(request: &Request, shown: fn(&str) -> String) -> Self {
        let client = request.extensions().get().map(|ClientIp(address)| *address);
        let (method, uri) = (known_method(request.method()), request.uri().clone());
        Self { method, uri, shown, client, answered: false }
    }

    /// Returns the method as a metric label.
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// Returns the client's address for the log.
    pub fn client(&self) -> Option<DisplayValue<IpAddr>> {
        self.client.map(tracing::field::display)
    }

    /// Marks the request as answered.
    pub const fn answered(&mut self) {
        self.answered = true;
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, (self.shown)(self.uri.path()))
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if !self.answered {
            tracing::info!(client.address = self.client(), "{self}: client disconnected before the response");
        }
    }
}

/// Returns the method as a metric label. All unknown methods share one label.
pub(super) fn known_method(method: &Method) -> &'static str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::POST,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
    ];
    const NAMES: [&str; 7] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"];
    KNOWN.iter().position(|known| known == method).map_or("other", |position| NAMES[position])
}
