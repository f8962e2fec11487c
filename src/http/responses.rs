//! Groups of responses that endpoints share in the description of the API.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};

use super::problem::MEDIA_TYPE;

/// Declares groups of error responses.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($status:literal: $when:literal,)+ })+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status, $when)),+].into_iter().map(refusal).collect()
            }
        }
    )+};
}

refusals! {
    /// The error responses of endpoints that read stored data.
    Fault {
        500: "The server failed; its log has the cause.",
    }
    /// The error responses of endpoints that write.
    WriteFault {
        500: "The server failed; its log has the cause.",
        507: "The server's disk is full. Nothing has changed.",
    }
    /// The error responses of endpoints that need a token.
    Guarded {
        400: "The request is malformed, or lacks its `Authorization` header.",
        403: "The token has no access, or there is no such project or run.",
    }
    /// The error responses of endpoints that may require the admin token.
    AdminOnly {
        401: "`Authorization` must hold the admin token.",
    }
    /// The error responses of endpoints that read a small JSON object.
    SmallBody {
        400: "The body is not as described, or a header is missing.",
        408: "The body stopped arriving.",
        413: "The body is too large.",
        415: "The body is not JSON, or has a content coding other than gzip, deflate and zstd.",
    }
    /// The error responses of endpoints that take uploads.
    UploadBody {
        400: "A header is missing or wrong, or the upload is malformed. None of it is kept; the token stays unused.",
        403: "The token has no access or has been used, or the project uses blocking and the upload has no blocks, or vice versa.",
        408: "The body stopped arriving. The token stays unused.",
        413: "The body is too large. The token stays unused.",
        415: "The body is of another media type, or has a content coding other than gzip, deflate and zstd.",
        503: "All upload slots are in use, or another upload with this token is under way. Retry after the time in `Retry-After`.",
        507: "The server's disk is full. The token stays unused.",
    }
    /// The error responses to requests that continue an upload.
    PartialUpload {
        400: "A header is missing or wrong, the lengths contradict each other, or the upload was accepted before. Or the upload is malformed; it is then removed.",
        403: "The token has no access or has been used, or the project uses blocking and the upload has no blocks, or vice versa.",
        408: "The body stopped arriving. What has arrived is kept.",
        409: "The part does not begin at the next byte, or a newer request about this upload has arrived.",
        413: "The upload is too large.",
        415: "The body is not `application/partial-upload`, or has a content coding.",
        507: "The server's disk is full. What was stored is kept.",
    }
    /// The error responses to all requests about an upload that arrives in several requests.
    PartialFault {
        404: "There is no such upload: it was cancelled or rejected, or has expired.",
        421: "Another node keeps the upload.",
        500: "The server failed; its log has the cause.",
        503: "The upload is being checked, or the server is busy. Retry after the time in `Retry-After`.",
    }
    /// The error responses to binary uploads.
    UploadFault {
        500: "The server failed; its log has the cause. The token stays unused.",
    }
    /// The error responses to uploads that may name objects.
    UploadOrDisabled {
        500: "The upload names objects and the object store is not enabled (title `Feature Disabled`), or the server failed. The token stays unused.",
    }
    /// The error responses of endpoints that need the object store.
    Disabled {
        500: "The object store is not enabled, or issues no credentials (title `Feature Disabled`), or the server failed.",
        503: "The object store is unavailable.",
    }
    /// The error responses to a new run.
    ProjectInError {
        500: "A party's data cannot be used: the project is in error until that party has uploaded again. Or the server failed.",
        507: "The server's disk is full. Nothing has changed.",
    }
    /// The error responses to a forecast of runs.
    NoForecast {
        409: "The data of some parties is not ready yet.",
        500: "The stored data of a party is missing or damaged, or the server failed.",
        503: "Another forecast is in progress. Retry after the time in `Retry-After`.",
    }
    /// The error responses to a request for a result.
    NoResult {
        404: "The run has no result yet.",
        409: "The request asks for the scores within groups, which were not kept.",
        500: "The run failed; its status has the reason. Or the stored result is missing or damaged, or the server failed.",
        503: "The object store, which issues the credentials, is unavailable.",
    }
}

fn refusal((status, when): (u16, &str)) -> (String, RefOr<Response>) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(when).content(MEDIA_TYPE, problem).build();
    (status.to_string(), response.into())
}
