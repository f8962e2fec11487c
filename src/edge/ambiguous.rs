//! Rejects requests that two readers could understand in two ways.

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode};

/// Returns the status and detail for a request that is ambiguous, which is rejected whatever it asks for.
pub(super) fn refusal(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Some((StatusCode::BAD_REQUEST, "the header Host is repeated"));
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn an_unambiguous_request_is_accepted() {
        let refused = |lines: &[(HeaderName, &str)]| {
            let headers = lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            refusal(&headers).is_some()
        };
        let coded = |coding| refused(&[(TRANSFER_ENCODING, coding)]);
        assert!(!refused(&[]) && !refused(&[(HOST, "a")]) && !coded("chunked") && !coded("Chunked, "));
        assert!(refused(&[(HOST, "a"), (HOST, "a")]));
        assert!(coded("gzip, chunked") && coded("chunked, chunked") && coded("identity"));
        assert!(refused(&[(TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "gzip")]));
    }
}
