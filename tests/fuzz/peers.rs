//! Fuzzes a proxy's report of its client, in a header and in the first bytes of a connection: no address is
//! accepted that the proxy did not report, and the bytes after a PROXY header are left to read. The corpus is
//! replayed by `tests/appliance/fuzz.rs`.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use entityd::edge::{ProxyHeader, TrustedProxies};
use futures::FutureExt;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Panics if an untrusted address is accepted.
pub(super) fn check(data: &[u8]) {
    header(data, ProxyHeader::XForwardedFor, HeaderName::from_static("x-forwarded-for"));
    header(data, ProxyHeader::Forwarded, HeaderName::from_static("forwarded"));
    announcement(data);
}

fn trust(header: ProxyHeader) -> TrustedProxies {
    TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], header)
}

/// Checks a header whose lines are the lines of `data`.
fn header(data: &[u8], kind: ProxyHeader, name: HeaderName) {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = lines.map(|line| (name.clone(), line)).collect();
    let trust = trust(kind);
    assert_eq!(trust.client(STRANGER, &headers), STRANGER);
    let client = trust.client(PROXY, &headers);
    if client != PROXY {
        assert!(named(&headers, client), "{client} is not in {headers:?}");
    }
    // The client's own entries come before the one that the proxy adds.
    let mut more = headers;
    let added = if kind == ProxyHeader::Forwarded { "for=192.0.2.7" } else { "192.0.2.7" };
    more.append(name, HeaderValue::from_static(added));
    assert_eq!(trust.client(PROXY, &more).to_string(), "192.0.2.7");
}

/// Returns whether an element of a header is that address, with or without a port.
fn named(headers: &HeaderMap, client: IpAddr) -> bool {
    let texts = headers.values().filter_map(|value| value.to_str().ok());
    let mut pieces = texts.flat_map(|text| text.split([',', ';', '=', '"', ' ', '\t', '[', ']']));
    pieces.any(|piece| {
        let host = piece.rsplit_once(':').map_or(piece, |(host, _)| host);
        piece.parse() == Ok(client) || host.parse() == Ok(client)
    })
}

fn announcement(data: &[u8]) {
    let trust = trust(ProxyHeader::ProxyProtocol);
    let whole = [data, BEHIND].concat();
    let mut stream = &whole[..];
    let announced = trust.announced(PROXY, &mut stream).now_or_never().expect("bytes in memory do not wait");
    if let Ok(client) = announced {
        let read = &whole[..whole.len() - stream.len()];
        assert!(
            read.starts_with(b"PROXY ") && read.ends_with(b"\r\n")
                || read.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
        );
        // The PROXY header alone gives the same address, and one byte less of it gives none.
        let again =
            trust.announced(PROXY, &mut { read }).now_or_never().expect("bytes in memory do not wait");
        assert_eq!(again.ok(), Some(client));
        let mut short = &read[..read.len() - 1];
        assert!(trust.announced(PROXY, &mut short).now_or_never().is_some_and(|answer| answer.is_err()));
    }
    let mut stream = &whole[..];
    let unheard = trust.announced(STRANGER, &mut stream).now_or_never();
    assert!(matches!(unheard, Some(Ok(None))) && stream.len() == whole.len());
}
