//! Redirects from a listener without TLS to the one with it.

use axum::Router;
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::edge::{BasePath, PublicAddress};

/// Redirects every request to the same path on `port`, with TLS.
pub fn redirect(port: u16) -> Router {
    Router::new().fallback(send_on).with_state(port)
}

async fn send_on(State(port): State<u16>, outside: PublicAddress, headers: HeaderMap, uri: Uri) -> Response {
    match outside
        .host()
        .map_or_else(|| destination(port, &headers, &uri), |host| Some(beyond(host, &outside, &uri)))
    {
        Some(there) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, there)]).into_response(),
        None => Problem::bad_request("the header Host must name this server").into_response(),
    }
}

/// Returns the address of the same page at a proxy with another host name, on the default port.
fn beyond(host: &str, outside: &PublicAddress, uri: &Uri) -> String {
    let base = outside.base(const { &BasePath::none() }).to_string();
    format!("https://{host}{base}{}", path_of(uri))
}

fn path_of(uri: &Uri) -> &str {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A path without a slash at its beginning would be read as a part of the port.
    if path.starts_with('/') { path } else { "/" }
}

fn destination(port: u16, headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let named = || headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let host = uri.authority().cloned().or_else(named)?;
    let host = Some(host.host()).filter(|host| !host.is_empty())?;
    let path = path_of(uri);
    Some(if port == 443 { format!("https://{host}{path}") } else { format!("https://{host}:{port}{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_stay_and_the_port_changes() {
        let there = |port, host: &str, uri: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            destination(port, &headers, &uri.parse().unwrap())
        };
        assert_eq!(there(443, "example.org:80", "/a?b=c").unwrap(), "https://example.org/a?b=c");
        assert_eq!(there(8851, "[::1]", "/").unwrap(), "https://[::1]:8851/");
        assert_eq!(there(1, "x", "http://other:5/p").unwrap(), "https://other:1/p");
        assert_eq!(there(1, "x", "*").unwrap(), "https://x:1/");
        assert_eq!(there(1, "a/b", "/"), None);
    }
}
