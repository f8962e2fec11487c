//! Rejects ambiguous requests, which a proxy and this server could interpret differently.

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};

/// Returns the status and the detail with which an ambiguous request is rejected; `None` for other requests.
pub(super) fn refusal(version: Version, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let mut hosts = headers.get_all(HOST).iter();
    // RFC 9112, section 3.2. HTTP/1.0 has no such header, and HTTP/2 has `:authority`.
    let problem = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Some("the header Host is missing"),
        (_, Some(_)) => Some("the header Host is repeated"),
        (Some(host), _) if !is_host(host) => {
            Some("the header Host is not a host name or address with a port")
        }
        _ => None,
    };
    if let Some(problem) = problem {
        return Some((StatusCode::BAD_REQUEST, problem));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(|line| {
        line.to_str().unwrap_or("?").split(',').map(str::trim).filter(|coding| !coding.is_empty())
    });
    let only_chunked = codings.by_ref().take(1).all(|coding| coding.eq_ignore_ascii_case("chunked"));
    (!only_chunked || codings.next().is_some()).then_some((
        StatusCode::NOT_IMPLEMENTED,
        "the header Transfer-Encoding must be chunked alone; compression belongs in Content-Encoding",
    ))
}

/// Returns true for a host, with or without a port, and for an empty value, which clients send for a target without a
/// host.
fn is_host(value: &HeaderValue) -> bool {
    let parsed = Authority::try_from(value.as_bytes());
    value.is_empty() || parsed.is_ok_and(|host| !host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn is_refused(version: Version, lines: &[(HeaderName, &str)]) -> bool {
        let headers = lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        refusal(version, &headers).is_some()
    }

    #[test]
    fn an_unambiguous_request_is_accepted() {
        let refused = |lines: &[(HeaderName, &str)]| is_refused(Version::HTTP_10, lines);
        let coded = |coding| refused(&[(TRANSFER_ENCODING, coding)]);
        assert!(!refused(&[]) && !refused(&[(HOST, "a")]) && !coded("chunked") && !coded("Chunked, "));
        assert!(refused(&[(HOST, "a"), (HOST, "a")]));
        assert!(coded("gzip, chunked") && coded("chunked, chunked") && coded("identity"));
        assert!(refused(&[(TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "gzip")]));
    }

    #[test]
    fn a_request_names_its_host_once() {
        for host in ["", "a", "a:1", "127.0.0.1:8851", "[::1]:8851", "my_host", "xn--bcher-kva.example."] {
            assert!(!is_refused(Version::HTTP_11, &[(HOST, host)]), "{host}");
        }
        for host in ["a b", "a/b", "http://a", "u@a", "[::1", "a,b\u{a0}", "a?b"] {
            assert!(is_refused(Version::HTTP_11, &[(HOST, host)]), "{host}");
        }
        assert!(is_refused(Version::HTTP_11, &[]));
        assert!(!is_refused(Version::HTTP_10, &[]) && !is_refused(Version::HTTP_2, &[]));
    }
}
