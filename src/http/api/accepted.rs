//! The response to an accepted upload.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::schemas;
use crate::model::Token;

/// An accepted upload.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Accepted {
    #[schema(example = "Updated")]
    message: &'static str,
    /// In `permutations` projects, gives access to the party's result.
    #[schema(schema_with = schemas::hex48)]
    receipt_token: String,
}

/// Returns the response to an accepted upload.
pub(super) fn accepted(receipt: &Token) -> Response {
    let accepted = Accepted { message: "Updated", receipt_token: receipt.reveal() };
    (StatusCode::CREATED, Json(accepted)).into_response()
}
