//! The rate limits of the API and of the operations listener.

use std::sync::Arc;

use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;

use super::cors::Origins;
use super::problem::Problem;
use crate::edge::rate_limit::{Class, Limits, RateLimit};

/// Returns the rate limit of the API. Uploads and results have separate limits. Pages of `origins` may read the error
/// response.
pub fn limit_api(limits: Arc<Limits>, status: StatusCode, origins: Origins) -> RateLimit {
    let rate_limit = RateLimit::new("api", limits, status, move |status, limit, request| {
        let mut response = Problem::too_soon(status, limit).into_response();
        let origin = request.headers().get(header::ORIGIN);
        origins.let_read(request.uri().path(), origin, response.headers_mut());
        response
    });
    rate_limit.classified(class)
}

/// Returns the rate limit of the operations listener.
pub fn limit_ops(limits: Arc<Limits>, status: StatusCode) -> RateLimit {
    RateLimit::new("ops", limits, status, |status, limit, _| Problem::too_soon(status, limit).into_response())
}

/// Returns the class of a request, which determines its limit.
fn class(method: &Method, path: &str) -> Class {
    let last = path.trim_end_matches('/').rsplit('/').next();
    match (method, last) {
        (&Method::POST, Some("clks" | "binaryclks")) | (&Method::PATCH, _) => Class::Uploads,
        (&Method::GET, Some("result")) => Class::Results,
        _ => Class::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_as_what_they_are() {
        let class = |method, path| class(&method, path);
        assert_eq!(class(Method::POST, "/api/v1/projects/x/clks"), Class::Uploads);
        assert_eq!(class(Method::POST, "//api//v1/projects/x/binaryclks/"), Class::Uploads);
        assert_eq!(class(Method::PATCH, "/api/v1/projects/x/uploads/y"), Class::Uploads);
        assert_eq!(class(Method::GET, "/api/v1/projects/x/runs/y/result"), Class::Results);
        assert_eq!(class(Method::GET, "/api/v1/projects/x/clks"), Class::Others);
        assert_eq!(class(Method::GET, "/"), Class::Others);
    }
}
