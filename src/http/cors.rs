//! Cross-origin access to the API from browsers.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use super::resumable;

/// The origins whose pages may use the API. The API requires tokens that a page must know, never cookies, so that any
/// origin may be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// Only these origins. The list may be empty.
    Only(Vec<HeaderValue>),
}

/// The error for text that is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is a scheme and a host, such as https://study.example")]
pub struct BadOrigin;

impl FromStr for Origins {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        match text.trim() {
            "*" => Ok(Self::Any),
            list => {
                let named = list.split(',').map(str::trim).filter(|origin| !origin.is_empty());
                named.map(origin).collect::<Result<_, _>>().map(Self::Only)
            }
        }
    }
}

/// Parses an origin as browsers write it: a scheme and a host, with or without a port.
fn origin(text: &str) -> Result<HeaderValue, BadOrigin> {
    let lower = text.to_ascii_lowercase();
    let uri = lower.parse::<axum::http::Uri>().map_err(|_| BadOrigin)?;
    let whole =
        uri.scheme().is_some() && uri.authority().is_some() && uri.path() == "/" && uri.query().is_none();
    let plain = whole && !lower.ends_with('/') && !lower.contains('@');
    if plain { HeaderValue::try_from(lower).map_err(|_| BadOrigin) } else { Err(BadOrigin) }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("*"),
            Self::Only(origins) => {
                let names: Vec<&str> = origins.iter().filter_map(|origin| origin.to_str().ok()).collect();
                serializer.serialize_str(&names.join(","))
            }
        }
    }
}

impl Origins {
    /// Returns the origin to allow for a page at `asking`; `None` if it may not use the API.
    fn allowed(&self, asking: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => asking.filter(|asking| origins.contains(asking)).cloned(),
        }
    }

    /// Adds the headers to a response for `path` that did not pass through the middleware.
    pub(super) fn let_read(&self, path: &str, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if !self.are_none() && is_api(path) {
            self.describe(origin, false, headers);
        }
    }

    /// Adds the headers that allow an origin to read a response, or to send a request.
    fn describe(&self, origin: Option<&HeaderValue>, preflight: bool, headers: &mut HeaderMap) {
        if *self != Self::Any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.allowed(origin) {
            allow(headers, origin, preflight);
        }
    }

    /// Returns true if no page of another origin may use the API.
    pub(super) const fn are_none(&self) -> bool {
        matches!(self, Self::Only(origins) if origins.is_empty())
    }
}

/// The request headers that a page may send, besides those that are always allowed.
const HEADERS: &str = "Authorization, Hash-Count, Hash-Size, RETURN-OBJECT-STORE-ADDRESS, Receipt-Again, Upload-Complete, Upload-Offset, Upload-Length, Upload-Draft-Interop-Version, Content-Encoding, Content-Type, Content-Range, Range, \
                       Cache-Control, If-Modified-Since, Keep-Alive, User-Agent, X-Requested-With, X-CustomHeader, DNT, \
                       traceparent";
/// The response headers that a page may read.
const EXPOSED: &str = "Content-Length, Content-Range, Content-Type, Location, Retry-After, Upload-Complete, Upload-Offset, Upload-Length, Upload-Limit, RateLimit, RateLimit-Policy, X-Request-Id, traceparent";
/// The methods that a page may use.
const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
/// The time for which a browser may cache the preflight response: twenty days, as in the reference service.
const REMEMBERED_SECONDS: &str = "1728000";

/// Answers preflight requests, and adds the headers to every response.
pub(super) async fn answer(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    if !is_api(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS;
    // For the endpoints of uploads, OPTIONS also returns the limits of resumable uploads.
    let mut response = if preflight && !resumable::has_limits(request.uri().path()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    origins.describe(origin.as_ref(), preflight, response.headers_mut());
    Ok(response)
}

/// Returns true for a path of the API, with or without a proxy's prefix.
fn is_api(path: &str) -> bool {
    path.contains("/api/v1/")
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let mut say = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    say(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    say(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    if preflight {
        say(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_SECONDS);
    } else {
        say(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let only = |origins: &[&'static str]| {
            Ok(Origins::Only(origins.iter().map(|origin| HeaderValue::from_static(origin)).collect()))
        };
        assert_eq!(" * ".parse(), Ok(Origins::Any));
        assert_eq!("".parse(), only(&[]));
        assert_eq!("https://A.example, http://b:81".parse(), only(&["https://a.example", "http://b:81"]));
        for wrong in ["a.example", "https://a.example/", "https://a.example/x", "https://u@a", "*,https://a"]
        {
            assert_eq!(wrong.parse::<Origins>(), Err(BadOrigin), "{wrong}");
        }
    }

    #[test]
    fn an_origin_that_is_not_named_is_not_allowed() {
        let named = HeaderValue::from_static("https://a.example");
        let other = HeaderValue::from_static("https://b.example");
        let origins: Origins = "https://a.example".parse().unwrap();
        assert_eq!(origins.allowed(Some(&named)), Some(named.clone()));
        assert_eq!(origins.allowed(Some(&other)), None);
        assert_eq!(origins.allowed(None), None);
        assert_eq!(Origins::Any.allowed(None), Some(HeaderValue::from_static("*")));
    }
}
