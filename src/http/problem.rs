//! Error responses.

use std::borrow::Cow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use linkage::encoding;
use serde::Serialize;
use utoipa::ToSchema;

use crate::coordinator::{self, Refused};
use crate::edge::{Stalled, WithRequestId};
use crate::external::CredentialError;
use crate::telemetry::chain;
use crate::{metadata, objects, queue};

/// The media type of a [`Problem`].
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The seconds in `Retry-After` if no better value is known.
const RETRY_AFTER_S: u16 = 5;

/// An error response as in RFC 9457. It describes the problem of the request, without internal details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `about:blank` if the status identifies the kind of problem, or the URI of a problem of resumable uploads.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The kind of problem, in a few words.
    #[schema(example = "Bad Request")]
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    status: u16,
    /// The problem, as text for people.
    #[schema(example = "`threshold`: expected a number above 0 and at most 1, at line 1 column 17")]
    detail: Cow<'static, str>,
    /// The id of the request in the log; also in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f86d081")]
    request_id: Option<String>,
    /// For a part of an upload at a wrong offset: the offset where the next part begins.
    #[serde(rename = "expected-offset", skip_serializing_if = "Option::is_none")]
    expected_offset: Option<u64>,
    /// For a part of an upload at a wrong offset: the offset of the request.
    #[serde(rename = "provided-offset", skip_serializing_if = "Option::is_none")]
    provided_offset: Option<u64>,
}

impl Problem {
    /// Makes a problem with a 4xx or 5xx status.
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.into(),
            request_id: None,
            expected_offset: None,
            provided_offset: None,
        }
    }

    /// Returns a problem that the draft of resumable uploads defines, by its registered type.
    pub(super) fn of_type(
        kind: &'static str,
        status: StatusCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, ..Self::new(status, detail) }
    }

    /// Adds the offsets to a problem of a part at a wrong offset.
    #[must_use]
    pub(super) const fn with_offsets(mut self, expected: u64, provided: u64) -> Self {
        (self.expected_offset, self.provided_offset) = (Some(expected), Some(provided));
        self
    }

    /// Returns 400: the request itself is at fault.
    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Returns 400 for a query string that lacks a parameter, repeats one, or has one of the wrong type.
    pub(super) fn bad_query(rejection: &QueryRejection) -> Self {
        let text = rejection.body_text();
        let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        Self::bad_request(format!("the query string is invalid: {why}"))
    }

    /// Returns true if the server failed to carry out the request.
    pub(super) const fn is_of_server(&self) -> bool {
        self.status >= 500
    }

    /// Returns 401: the request lacks the required secret.
    pub(super) fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Returns 403, the same for an absent resource and for a token without access, so that ids cannot be
    /// probed.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "the token has no access, or there is no such project or run")
    }

    /// Returns 413: the body is longer than `bytes_max`.
    pub(super) fn too_large(bytes_max: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body may have {bytes_max} bytes at most"))
    }

    /// Returns 415: the endpoint does not take this type of body.
    pub(super) fn media_type(expected: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the header Content-Type must be {expected}"))
    }

    /// Returns 408: the body arrives too slowly, or not at all.
    pub(super) fn stalled(stalled: Stalled) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, stalled.to_string())
    }

    /// Returns 503, or the configured status: the client exceeds `limit`.
    pub(super) fn too_soon(status: StatusCode, limit: &str) -> Self {
        let detail =
            format!("the limit on {limit} is reached; retry after the time in the header Retry-After");
        Self::new(status, detail)
    }

    /// Returns 503 for a temporary condition.
    pub(super) fn busy(why: &'static str) -> Self {
        let detail = format!("{why}; retry after the time in the header Retry-After");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Returns 500 for something that is not the server's fault: the requested run has failed, or the feature
    /// is off. The title tells these apart.
    pub(super) fn failed(title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { title, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail) }
    }

    /// Returns 500: the server has no object store that clients may use.
    pub(super) fn disabled() -> Self {
        Self::failed(
            "Feature Disabled",
            "uploading through the object store is not enabled; post the data to /clks or /binaryclks",
        )
    }

    /// Returns 500 for an internal error. Logs the cause; the response does not contain it.
    pub(super) fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!("cannot answer a request: {}", chain(cause));
        Self::unexplained()
    }

    /// Returns 507: there is no space for the change. Logs the cause for the operator.
    fn no_room(cause: &dyn std::error::Error) -> Self {
        tracing::error!("cannot carry out a request: {}", chain(cause));
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the server's disk is full; nothing has changed, and the request can be repeated once there is space",
        )
    }

    /// Returns 507: there is no space for an upload now. Logs the cause for the operator.
    pub(super) fn no_space(cause: &dyn std::error::Error) -> Self {
        tracing::error!("upload rejected: {}", chain(cause));
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the server has no space for this upload; none of it is kept, and the token stays unused",
        )
    }

    /// Returns 503: a store is unavailable. Logs the cause; the caller may retry.
    pub(super) fn unavailable(cause: &dyn std::error::Error) -> Self {
        tracing::error!("cannot carry out a request: {}", chain(cause));
        Self::busy("the server's storage is unavailable; nothing that was confirmed is lost")
    }

    /// Returns 500: the metadata is damaged, so that a retry does not help. Logs the cause for the operator.
    fn damaged(cause: &dyn std::error::Error) -> Self {
        tracing::error!("cannot carry out a request: {}", chain(cause));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server's metadata is damaged; its operator must stop it and restore a backup",
        )
    }

    /// Writes the request id into the body of `response`, which was made from this problem.
    pub(super) fn identify(mut self, response: &mut Response, request_id: &str) {
        self.request_id = Some(request_id.to_owned());
        *response.body_mut() = Json(self).into_response().into_body();
    }

    /// Returns 500 for an error whose cause is in the log already.
    pub(super) fn unexplained() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed; its log has the cause under this response's X-Request-Id",
        )
    }
}

impl From<coordinator::Error> for Problem {
    fn from(error: coordinator::Error) -> Self {
        match error {
            coordinator::Error::Refused(refused) => refused.into(),
            coordinator::Error::Metadata(metadata::Error::Full(_)) => Self::no_room(&error),
            coordinator::Error::Metadata(metadata::Error::Busy) => {
                Self::busy("too many requests read the metadata at once")
            }
            coordinator::Error::Metadata(metadata::Error::Unavailable(_))
            | coordinator::Error::Unreachable(_) => Self::unavailable(&error),
            coordinator::Error::Metadata(metadata::Error::Damaged(_)) => Self::damaged(&error),
            coordinator::Error::Metadata(_) | coordinator::Error::Rejected(_) => Self::internal(&error),
            coordinator::Error::Queue(error) => error.into(),
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(error: queue::Error) -> Self {
        match error {
            queue::Error::Storage(_) | queue::Error::Closed => Self::unavailable(&error),
            _ => Self::internal(&error),
        }
    }
}

impl From<encoding::Error> for Problem {
    fn from(error: encoding::Error) -> Self {
        match error {
            encoding::Error::Rejected(rejection) if rejection.is_forbidden() => {
                Self::new(StatusCode::FORBIDDEN, rejection.to_string())
            }
            encoding::Error::Rejected(rejection) => Self::bad_request(rejection.to_string()),
            encoding::Error::Sink(cause) => objects::Error::from(cause).into(),
            encoding::Error::Source(_) => Self::internal(&error),
        }
    }
}

impl From<objects::Error> for Problem {
    fn from(error: objects::Error) -> Self {
        match error {
            objects::Error::Full(_) => Self::no_space(&error),
            objects::Error::Storage(_) if error.may_pass() => Self::unavailable(&error),
            objects::Error::Missing { .. }
            | objects::Error::Damaged { .. }
            | objects::Error::Foreign { .. }
            | objects::Error::Storage(_) => Self::internal(&error),
        }
    }
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        tracing::warn!("cannot issue credentials to a client: {}", chain(&error));
        match error {
            CredentialError::Refused(_) => Self::disabled(),
            CredentialError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the object store does not answer; try again, or post the data to /clks or /binaryclks",
            ),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Absent => Self::forbidden(),
            Refused::TokenUsed => Self::new(
                StatusCode::FORBIDDEN,
                "the token has been used; if the response was lost, send the same encodings again with the header \
                 Receipt-Again: true to get a new receipt token in place of the lost one",
            ),
            Refused::UploadUnderWay => Self::busy("another upload with this token is under way"),
            // The token may be unused still; otherwise, the repeated upload is refused for that.
            Refused::UploadSuperseded => Self::busy("the upload was abandoned in the meantime"),
            Refused::ProjectInError(_) => Self::failed("Project In Error", refused.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let rewrite = WithRequestId::new(move |response, id| self.clone().identify(response, id));
        response.extensions_mut().insert(rewrite);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Makes the response to a request that is rejected before routing.
pub fn refuse(status: StatusCode, detail: &'static str) -> Response {
    Problem::new(status, detail).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn absent_and_forbidden_look_alike() {
        assert_eq!(Problem::from(coordinator::Error::Refused(Refused::Absent)), Problem::forbidden());
    }

    #[test]
    fn a_full_disk_is_no_fault_that_only_the_log_explains() {
        let full = coordinator::Error::Metadata(metadata::Error::Full("disk is full".into()));
        assert_eq!(Problem::from(full).status, 507);
    }

    #[test]
    fn a_request_without_a_reader_gets_503_and_retry_after() {
        let busy = Problem::from(coordinator::Error::Metadata(metadata::Error::Busy)).into_response();
        assert_eq!(
            (busy.status(), &busy.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(5))
        );
    }

    #[test]
    fn internal_errors_are_not_in_the_response() {
        let cause = "disk /var/lib/secret is on fire";
        let errors = [
            (coordinator::Error::Metadata(metadata::Error::Unavailable(cause.into())), 503),
            (coordinator::Error::Metadata(metadata::Error::Damaged(cause.into())), 500),
            (coordinator::Error::Queue(queue::Error::Storage(cause.into())), 503),
            (coordinator::Error::Queue(queue::Error::Damaged(cause.into())), 500),
        ];
        for (error, status) in errors {
            let problem = Problem::from(error);
            assert_eq!(problem.status, status);
            assert!(!problem.detail.contains("secret"), "{problem:?}");
        }
    }

    #[test]
    fn a_problem_has_the_four_members_and_its_own_media_type() {
        let problem = Problem::from(Refused::ProjectInError("party 1 sent invalid data".to_owned()));
        insta::assert_json_snapshot!(problem, @r#"
        {
          "type": "about:blank",
          "title": "Project In Error",
          "status": 500,
          "detail": "the project is in error: party 1 sent invalid data"
        }
        "#);
        let response = problem.into_response();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    async fn told(mut response: Response) -> (String, Option<HeaderValue>) {
        crate::edge::RequestId::new(
            &axum::http::HeaderMap::new(),
            &crate::runtime::entropy::Entropy::seeded(1),
        )
        .tell(&mut response);
        let length = response.headers_mut().remove(header::CONTENT_LENGTH);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (String::from_utf8(body.to_vec()).unwrap(), length)
    }

    #[tokio::test]
    async fn a_refusal_bears_the_name_and_no_length_but_its_own() {
        let refusal = || {
            let mut response = Problem::new(StatusCode::NOT_FOUND, "no").into_response();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
            response
        };
        let (whole, length) = told(refusal()).await;
        assert!(whole.contains("request_id") && length.is_none());
        let (nothing, length) = told(refusal().map(|_| axum::body::Body::empty())).await;
        assert_eq!((nothing.as_str(), length), ("", Some(HeaderValue::from(whole.len()))));
    }
}
