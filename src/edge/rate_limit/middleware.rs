//! The rate-limit middleware.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tower::ServiceExt;

use super::limits::{Allowance, Class, Limits, Refusal};
use crate::edge::access_log::{UNKNOWN_ROUTE, known_method};
use crate::telemetry::LogThrottle;
use crate::telemetry::metrics;

/// The header that describes the limit.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The header with the remaining allowance.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Makes the response to a request that exceeds the limit of this name.
type Refuse = dyn Fn(StatusCode, &'static str, &Request) -> Response + Send + Sync;

/// Limits the requests of a listener. Cheap to clone.
#[derive(Clone)]
pub struct RateLimit {
    /// The listener as a metric label.
    listener: &'static str,
    limits: Arc<Limits>,
    class: fn(&Method, &str) -> Class,
    refuse: Arc<Refuse>,
    status: StatusCode,
    refused: Arc<LogThrottle>,
}

impl RateLimit {
    /// Limits the requests of `listener` to `limits`. `refuse` makes the response to a request that exceeds a limit,
    /// from `status` and the name of the limit.
    pub fn new(
        listener: &'static str,
        limits: Arc<Limits>,
        status: StatusCode,
        refuse: impl Fn(StatusCode, &'static str, &Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let refuse = Arc::new(refuse);
        Self { listener, limits, class: |_, _| Class::Others, refuse, status, refused: Arc::default() }
    }

    /// Classifies each request by its method and path with `class`.
    #[must_use]
    pub fn classified(self, class: fn(&Method, &str) -> Class) -> Self {
        Self { class, ..self }
    }

    /// Passes the request of the client at `address` to `router`, unless it is rate-limited.
    pub(in crate::edge) async fn pass(&self, address: IpAddr, request: Request, router: Router) -> Response {
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
            tracing::warn!(count, %address, limit = allowance.limit, "requests rate-limited");
        }
        tracing::debug!(limit = allowance.limit, "request rate-limited");
        metrics::too_soon(allowance.limit);
        metrics::request(
            self.listener,
            UNKNOWN_ROUTE,
            known_method(request.method()),
            self.status.as_u16(),
            0.0,
        );
        let mut response = (self.refuse)(self.status, allowance.limit, request);
        let seconds = seconds(allowance).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        describe(response.headers_mut(), allowance);
        response
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
