//! The request id, the same in every log line and in the response.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use hyper::body::Body as _;
use tracing::Span;
use tracing::field::Empty;

use super::trace::{TRACEPARENT, Trace};
use crate::runtime::entropy::Entropy;

/// The response header with the id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id and the trace of a request. Every request that comes in by a listener carries one.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    /// Hexadecimal digits.
    id: [u8; 8],
    trace: Trace,
    /// Set if the caller sent the trace.
    traced: bool,
}

/// Writes the id of its request into a response that carries this as an extension.
#[derive(Clone)]
pub struct WithRequestId(Arc<Rewrite>);

type Rewrite = dyn Fn(&mut Response, &str) + Send + Sync;

impl WithRequestId {
    /// Returns an extension that calls `rewrite` with the response and the id.
    pub fn new(rewrite: impl Fn(&mut Response, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(rewrite))
    }
}

impl RequestId {
    /// Returns a new id, in the caller's trace if the request has one.
    pub fn new(headers: &HeaderMap, entropy: &Entropy) -> Self {
        // One call for both: each asks the operating system.
        let chance: [u8; 28] = entropy.bytes();
        let (id, fresh) = chance.split_first_chunk::<4>().expect("there are 28");
        let fresh = Trace::begin(fresh.try_into().expect("24 are left"));
        let given = Trace::given(headers, fresh);
        let mut digits = [0; 8];
        hex::encode_to_slice(id, &mut digits).expect("two digits a byte");
        Self { id: digits, trace: given.unwrap_or(fresh), traced: given.is_some() }
    }

    /// Returns the id that the caller can quote.
    pub fn id(&self) -> &str {
        str::from_utf8(&self.id).expect("digits are text")
    }

    /// Returns the span of every log line of the request, whatever level is logged.
    pub(super) fn span(&self) -> Span {
        let span = tracing::error_span!("request", request.id = %self.id(), trace.id = Empty);
        if self.traced {
            span.record("trace.id", self.trace.id());
        }
        span
    }

    /// Writes the id into the headers of the response, and into the body of a refusal.
    pub fn tell(&self, response: &mut Response) {
        if let Some(rewrite) = response.extensions_mut().remove::<WithRequestId>() {
            self.identify(&rewrite, response);
        }
        let headers = response.headers_mut();
        headers.extend(HeaderValue::from_bytes(&self.id).ok().map(|id| (REQUEST_ID, id)));
        headers.extend(self.trace.header().map(|header| (TRACEPARENT, header)));
    }

    /// Writes the id into the body of a refusal.
    fn identify(&self, rewrite: &WithRequestId, response: &mut Response) {
        // A response to HEAD has no body, but its length is stated.
        let left_out = response.body().is_end_stream();
        (rewrite.0)(response, self.id());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        if left_out {
            let bytes = response.body().size_hint().exact().map(HeaderValue::from);
            response.headers_mut().extend(bytes.map(|bytes| (header::CONTENT_LENGTH, bytes)));
            *response.body_mut() = Body::empty();
        }
    }
}
