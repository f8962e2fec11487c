//! Parses the headers with which proxies report the client: `X-Forwarded-For`, and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

/// The header that most proxies send.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the addresses in `X-Forwarded-For`, the last first, which the nearest proxy has added; `None` for each
/// malformed one.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, X_FORWARDED_FOR).map(|element| address(element?))
}

/// Returns the addresses in `Forwarded`, the last first, which the nearest proxy has added; `None` for each malformed
/// one.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, FORWARDED).map(|element| address(&pair(element?, "for")?))
}

/// Returns the last value of a header, which the nearest proxy has added.
pub(super) fn nearest<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    elements(headers, HeaderName::from_static(name)).next().flatten()
}

/// Returns the value of this name in the last element of `Forwarded`, which the nearest proxy has added.
pub(super) fn forwarded_as(headers: &HeaderMap, name: &str) -> Option<String> {
    pair(elements(headers, FORWARDED).next().flatten()?, name)
}

/// Returns the value of a name in an element of `Forwarded`.
fn pair(element: &str, name: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Returns the host that the client has requested, as the nearest proxy reports it, with its port unless that is the
/// default.
pub(super) fn host(headers: &HeaderMap) -> Option<String> {
    let nearest = |name| nearest(headers, name);
    let host = nearest("x-forwarded-host").filter(|host| !host.is_empty())?;
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let usual = match nearest("x-forwarded-proto") {
        Some("https") => ["443"].as_slice(),
        Some("http") => &["80"],
        _ => &["80", "443"],
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| is_port(port));
    let port = nearest("x-forwarded-port").filter(|port| is_port(port) && !has_port && !usual.contains(port));
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Splits all lines of a header at their commas, and returns the elements, the last one first; `None` for each line
/// that is not text.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Option<&str>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| {
        let text = line.to_str().ok();
        let parts = text.map(|text| text.rsplit(',').map(|part| Some(part.trim())).collect::<Vec<_>>());
        parts.unwrap_or_else(|| vec![None])
    })
}

/// Parses an address, with or without a port or brackets. Rejects an address with a zone (`%1`), which has a meaning on
/// one host only.
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
    fn the_host_of_the_client_has_a_port_unless_it_is_the_usual_one() {
        let host = |lines: &[(&'static str, &str)]| {
            let line = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), value.parse().unwrap())
            };
            host(&lines.iter().map(line).collect())
        };
        let (name, port, proto) = ("x-forwarded-host", "x-forwarded-port", "x-forwarded-proto");
        assert_eq!(host(&[(name, "s3.example"), (port, "8443")]).as_deref(), Some("s3.example:8443"));
        assert_eq!(host(&[(name, "s3.example"), (port, "443")]).as_deref(), Some("s3.example"));
        let odd = host(&[(name, "s3.example"), (port, "80"), (proto, "https")]);
        assert_eq!(odd.as_deref(), Some("s3.example:80"));
        assert_eq!(host(&[(name, "evil, s3.example:1"), (port, "2")]).as_deref(), Some("s3.example:1"));
        assert_eq!(host(&[(name, "[2001:db8::a]"), (port, "9000")]).as_deref(), Some("[2001:db8::a]:9000"));
        assert_eq!(host(&[(port, "9000")]), None);
    }

    #[test]
    fn forwarded_has_names() {
        let headers = headers(
            &FORWARDED,
            &[r#"for=192.0.2.1;proto=https, By=x;For="[2001:db8::1]:4711""#, "for=_hidden, proto=http"],
        );
        assert_eq!(shown(forwarded(&headers)), ["?", "?", "2001:db8::1", "192.0.2.1"]);
        assert_eq!(forwarded_as(&headers, "proto").as_deref(), Some("http"));
        assert_eq!(forwarded_as(&headers, "host"), None);
    }
}
