//! The request id, which is in every log line of a request and in its response.

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

/// The id and the trace of a request. It is in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    /// The id, as hexadecimal digits.
    id: [u8; 8],
    trace: Trace,
    /// True if the caller sent the trace.
    traced: bool,
}

/// An extension of a response, with a function that writes the request id into its body.
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
    /// Returns a new id, with the trace in the request's headers, or a new trace if there is none.
    pub fn new(headers: &HeaderMap, entropy: &Entropy) -> Self {
        let chance: [u8; 28] = entropy.public_bytes();
        let (id, fresh) = chance.split_first_chunk::<4>().expect("there are 28");
        let fresh = Trace::begin(fresh.try_into().expect("24 are left"));
        let given = Trace::given(headers, fresh);
        let mut digits = [0; 8];
        hex::encode_to_slice(id, &mut digits).expect("two digits a byte");
        Self { id: digits, trace: given.unwrap_or(fresh), traced: given.is_some() }
    }

    /// Returns the id as text.
    pub fn id(&self) -> &str {
        str::from_utf8(&self.id).expect("digits are text")
    }

    /// Returns the span for every log line of the request. It is enabled at every log level.
    pub(super) fn span(&self) -> Span {
        let span = tracing::error_span!("request", request.id = %self.id(), trace.id = Empty);
        if self.traced {
            span.record("trace.id", self.trace.id());
        }
        span
    }

    /// Writes the id and the trace into the headers of a response, and the id into the body of an error response.
    pub fn tell(&self, response: &mut Response) {
        if let Some(rewrite) = response.extensions_mut().remove::<WithRequestId>() {
            self.identify(&rewrite, response);
        }
        let headers = response.headers_mut();
        headers.extend(HeaderValue::from_bytes(&self.id).ok().map(|id| (REQUEST_ID, id)));
        headers.extend(self.trace.header().map(|header| (TRACEPARENT, header)));
    }

    /// Writes the id into the body of an error response.
    fn identify(&self, rewrite: &WithRequestId, response: &mut Response) {
        // The response to HEAD has no body, but states its length.
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
