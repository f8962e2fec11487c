//! The headers by which proxies say who they speak for: `X-Forwarded-For`, and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

/// The header that most proxies send.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses in `X-Forwarded-For`, the nearest proxy's first; nothing in place of what is no address.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, X_FORWARDED_FOR).map(|element| address(element?))
}

/// Addresses in `Forwarded`, the nearest proxy's first; nothing in place of what is no address.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, FORWARDED).map(|element| {
        let named = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"').to_owned())
        };
        address(&element?.split(';').find_map(named)?)
    })
}

/// What commas separate in a header, across its lines, the last first.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Option<&str>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| {
        let text = line.to_str().ok();
        let parts = text.map(|text| text.rsplit(',').map(|part| Some(part.trim())).collect::<Vec<_>>());
        parts.unwrap_or_else(|| vec![None])
    })
}

/// An address, perhaps with a port, perhaps in brackets. A zone (`%1`) means something to one host alone, and is none.
fn address(text: &str) -> Option<IpAddr> {
    if text.contains('%') {
        return None;
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect()
    }

    fn shown(addresses: impl Iterator<Item = Option<IpAddr>>) -> Vec<String> {
        addresses
            .map(|address| address.map_or_else(|| "?".to_owned(), |address| address.to_string()))
            .collect()
    }

    #[test]
    fn the_nearest_comes_first() {
        let headers = headers(
            &X_FORWARDED_FOR,
            &["192.0.2.1, 2001:db8::1", "[2001:db8::2]:80,192.0.2.4:5, x, [::1%1]:2"],
        );
        assert_eq!(
            shown(x_forwarded_for(&headers)),
            ["?", "?", "192.0.2.4", "2001:db8::2", "2001:db8::1", "192.0.2.1"]
        );
    }

    #[test]
    fn forwarded_has_names() {
        let headers = headers(
            &FORWARDED,
            &[r#"for=192.0.2.1;proto=https, By=x;For="[2001:db8::1]:4711""#, "for=_hidden, proto=http"],
        );
        assert_eq!(shown(forwarded(&headers)), ["?", "?", "2001:db8::1", "192.0.2.1"]);
    }
}
