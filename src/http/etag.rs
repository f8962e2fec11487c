//! Adds an entity tag to pages, and answers 304 to clients that have the page.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// The maximum size of a page. All pages are in the binary.
const BYTES_MAX: usize = 4 << 20;

/// Answers a request for a page, with an entity tag of its content.
pub(super) async fn validated(request: Request, next: Next) -> Response {
    let asked = request.headers().clone();
    // The response to HEAD has no body from which a tag could be computed.
    let has_body = *request.method() == Method::GET;
    let response = next.run(request).await;
    if response.status() != StatusCode::OK || !has_body {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = match to_bytes(body, BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..12]));
    let is_known = knows(&asked, &tag);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.headers.insert(header::ETAG, tag);
    }
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(body))
}

/// Returns true if the client has the content with this tag.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH);
    let tags = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    tags.map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag || known == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognized_in_a_list_and_where_a_proxy_has_weakened_it() {
        let headers = |value: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
        for known in ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*"] {
            assert!(knows(&headers(known), "\"a\""), "{known}");
        }
        assert!(!knows(&headers("\"b\""), "\"a\"") && !knows(&HeaderMap::new(), "\"a\""));
    }
}
