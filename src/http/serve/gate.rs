//! Lets requests pass as often as their client may send them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::seldom::Seldom;
use crate::http::cors::Origins;
use crate::http::log::{UNKNOWN_ROUTE, known_method};
use crate::http::name::Name;
use crate::http::problem::Problem;
use crate::limits::{Allowance, Class, Limits, Refusal};
use crate::telemetry::metrics;

/// Says which limit there is.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Says what is left of it.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Limits the requests of a listener. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    /// The listener as a label.
    listener: &'static str,
    limits: Arc<Limits>,
    class: fn(&Method, &str) -> Class,
    refuse: fn(StatusCode, &'static str, &str) -> Response,
    status: StatusCode,
    refused: Arc<Seldom>,
    /// Whose pages may read a refusal.
    origins: Origins,
}

impl Gate {
    /// Limits the requests of `listener` to `limits`; who comes too soon is answered `status` in the words of `refuse`,
    /// which is given the names of the limit and of the request.
    pub fn new(
        listener: &'static str,
        limits: Arc<Limits>,
        status: StatusCode,
        refuse: fn(StatusCode, &'static str, &str) -> Response,
    ) -> Self {
        Self {
            listener,
            limits,
            class: |_, _| Class::Others,
            refuse,
            status,
            refused: Arc::default(),
            origins: Origins::none(),
        }
    }

    /// The same, with refusals as the API has them.
    pub fn plain(listener: &'static str, limits: Arc<Limits>, status: StatusCode) -> Self {
        Self::new(listener, limits, status, |status, limit, _| {
            Problem::too_soon(status, limit).into_response()
        })
    }

    /// The same, for the API itself: uploads and results have limits of their own, and pages of `origins` may read why they
    /// are refused.
    pub fn of_api(limits: Arc<Limits>, status: StatusCode, origins: Origins) -> Self {
        Self { class, origins, ..Self::plain("api", limits, status) }
    }

    /// Has `router` answer the request of the client at `address`, if it does not come too soon.
    pub(super) async fn pass(&self, address: IpAddr, request: Request, router: Router) -> Response {
        match self.limits.admit((self.class)(request.method(), request.uri().path()), address) {
            Ok(allowance) => {
                let Ok(mut response) = router.oneshot(request).await;
                if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status()) {
                    self.limits.count_failure(address);
                }
                if let Some(allowance) = allowance {
                    describe(response.headers_mut(), &allowance);
                }
                response
            }
            Err(Refusal(allowance)) => self.refuse(address, &request, &allowance),
        }
    }

    fn refuse(&self, address: IpAddr, request: &Request, allowance: &Allowance) -> Response {
        if let Some(count) = self.refused.count() {
            tracing::warn!(count, %address, limit = allowance.limit, "requests came too soon and were refused");
        }
        tracing::debug!(limit = allowance.limit, "a request came too soon and was refused");
        metrics::too_soon(allowance.limit);
        metrics::request(
            self.listener,
            UNKNOWN_ROUTE,
            known_method(request.method()),
            self.status.as_u16(),
            0.0,
        );
        let id = request.extensions().get::<Name>().map_or("", Name::id);
        let mut response = (self.refuse)(self.status, allowance.limit, id);
        let seconds = seconds(allowance).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        describe(response.headers_mut(), allowance);
        let origin = request.headers().get(header::ORIGIN);
        self.origins.let_read(request.uri().path(), origin, response.headers_mut());
        response
    }
}

/// What a request is counted as.
fn class(method: &Method, path: &str) -> Class {
    let last = path.trim_end_matches('/').rsplit('/').next();
    match (method, last) {
        (&Method::POST, Some("clks" | "binaryclks")) => Class::Uploads,
        (&Method::GET, Some("result")) => Class::Results,
        _ => Class::Others,
    }
}

fn seconds(allowance: &Allowance) -> u64 {
    allowance.wait.as_secs_f64().ceil() as u64
}

fn describe(headers: &mut HeaderMap, allowance: &Allowance) {
    let Allowance { limit, per_second, remaining, .. } = allowance;
    let (policy, left) = (
        format!("\"{limit}\";q={per_second};w=1"),
        format!("\"{limit}\";r={remaining};t={}", seconds(allowance)),
    );
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        headers.insert(name, HeaderValue::try_from(value).expect("letters, digits and punctuation"));
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
        assert_eq!(class(Method::GET, "/api/v1/projects/x/runs/y/result"), Class::Results);
        assert_eq!(class(Method::GET, "/api/v1/projects/x/clks"), Class::Others);
        assert_eq!(class(Method::GET, "/"), Class::Others);
    }
}
