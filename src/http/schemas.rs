//! Schemas that the types of the code do not express.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// Parses a schema that is written as JSON.
fn schema(json: Value) -> RefOr<Schema> {
    serde_json::from_value(json).expect("the schemas in this file are schemas")
}

pub(super) fn hex48() -> RefOr<Schema> {
    schema(json!({"type": "string", "pattern": "^[0-9a-f]{48}$", "minLength": 48, "maxLength": 48}))
}

pub(super) fn tokens() -> RefOr<Schema> {
    schema(json!({"type": "array", "minItems": 2, "items": hex48()}))
}

pub(super) fn timestamp() -> RefOr<Schema> {
    schema(json!({
        "type": "string",
        "description": "ISO 8601 in UTC, without a zone.",
        "examples": ["2026-11-22T08:40:01.241700"],
    }))
}

pub(super) fn perhaps_timestamp() -> RefOr<Schema> {
    schema(json!({
        "type": ["string", "null"],
        "description": "ISO 8601 in UTC, without a zone; `null` until it has happened.",
        "examples": ["2026-11-22T08:40:01.241700"],
    }))
}

pub(super) fn result_type() -> RefOr<Schema> {
    schema(json!({
        "type": "string",
        "enum": ["groups", "permutations", "similarity_scores"],
        "description": "The result of the runs: `groups` of records that belong to the same person; `permutations`, \
                        one for each of two parties, with a mask for the analyst; `similarity_scores` of all candidate pairs.",
    }))
}

pub(super) fn run_state() -> RefOr<Schema> {
    schema(json!({"type": "string", "enum": ["created", "queued", "running", "completed", "error"]}))
}

pub(super) fn threshold() -> RefOr<Schema> {
    schema(json!({
        "type": "number",
        "format": "double",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "The minimum Dice coefficient of a candidate pair.",
        "examples": [0.85],
    }))
}

pub(super) fn thresholds() -> RefOr<Schema> {
    schema(json!({
        "type": "array",
        "minItems": 1,
        "maxItems": 100,
        "items": {"type": "number", "format": "double", "exclusiveMinimum": 0, "maximum": 1},
        "description": "From 1 to 100 thresholds, each above 0 and at most 1.",
        "examples": [[0.8, 0.85, 0.9]],
    }))
}

/// The body of a result.
pub(super) struct ResultBody;

impl ToSchema for ResultBody {
    fn name() -> Cow<'static, str> {
        "Result".into()
    }
}

impl PartialSchema for ResultBody {
    fn schema() -> RefOr<Schema> {
        let one = |member: &str, description: &str, items: Value| {
            json!({
                "type": "object",
                "description": description,
                "required": [member],
                "properties": {member: {"type": "array", "items": items}},
            })
        };
        let record = json!({
            "type": "array",
            "description": "Dataset index and record index.",
            "items": {"type": "integer", "minimum": 0},
            "minItems": 2,
            "maxItems": 2,
        });
        let group = json!({"type": "array", "items": record, "minItems": 2});
        let pair = json!({
            "type": "array",
            "description": "Two records and their score. The pairs are sorted from the highest score.",
            "items": {"oneOf": [record, {"type": "number", "format": "double", "minimum": 0, "maximum": 1}]},
            "minItems": 3,
            "maxItems": 3,
        });
        let mut permutation = one(
            "permutation",
            "Of a `permutations` project, for a receipt token: the new position of each record of the party.",
            json!({"type": "integer", "minimum": 0}),
        );
        permutation["required"] = json!(["permutation", "rows"]);
        permutation["properties"]["rows"] = json!({
            "type": "integer",
            "minimum": 0,
            "description": "The number of rows of the permuted data that the mask covers.",
        });
        let mut groups = one(
            "groups",
            "Of a `groups` project: records that belong to the same person, at most one of each dataset.",
            group,
        );
        groups["properties"]["scores"] = json!({
            "type": "array",
            "description": "With `scores=true`, for each group the pairs within it.",
            "items": {"type": "array", "items": pair},
        });
        schema(json!({"oneOf": [
            groups,
            one("similarity_scores", "Of a `similarity_scores` project.", pair),
            one(
                "mask",
                "Of a `permutations` project, for the result token: 1 where both permuted rows belong to the same person.",
                json!({"type": "integer", "minimum": 0, "maximum": 1}),
            ),
            permutation,
        ]}))
    }
}

/// The body of an upload as JSON.
pub(super) struct UploadBody;

impl ToSchema for UploadBody {
    fn name() -> Cow<'static, str> {
        "Upload".into()
    }
}

impl PartialSchema for UploadBody {
    fn schema() -> RefOr<Schema> {
        let encoding = json!({
            "type": "string",
            "description": "An encoding in base64 (standard alphabet, padded).",
            "examples": ["AAECAwQFBgc="],
        });
        let encodings = json!({"type": "array", "minItems": 1, "items": encoding});
        let name = json!({"type": ["string", "integer"]});
        schema(json!({"oneOf": [
            {
                "type": "object",
                "description": "Only encodings, for projects without blocking.",
                "required": ["clks"],
                "properties": {"clks": encodings},
            },
            {
                "type": "object",
                "description": "Each encoding with the blocks it is in, for projects with blocking.",
                "required": ["clknblocks"],
                "properties": {"clknblocks": {"type": "array", "minItems": 1, "items": {
                    "type": "array",
                    "description": "The encoding in base64, then names of blocks.",
                    "minItems": 1,
                    "items": name,
                    "examples": [["AAECAwQFBgc=", "north", 1979]],
                }}},
            },
            {
                "type": "object",
                "description": "Encodings and, for projects with blocking, the blocks of each record, by record number.",
                "required": ["encodings"],
                "properties": {
                    "encodings": encodings,
                    "blocks": {
                        "type": "object",
                        "additionalProperties": {"type": "array", "items": {"type": "string"}},
                        "examples": [{"0": ["north", "1979"], "1": []}],
                    },
                },
            },
        ]}))
    }
}

/// A result as an Arrow stream.
pub(super) struct ArrowBody;

impl ToSchema for ArrowBody {
    fn name() -> Cow<'static, str> {
        "ArrowStream".into()
    }
}

impl PartialSchema for ArrowBody {
    fn schema() -> RefOr<Schema> {
        schema(json!({
            "type": "string",
            "format": "binary",
            "description": "An Arrow IPC stream: the schema, record batches, and the end-of-stream mark of 8 bytes, without which it is incomplete.",
        }))
    }
}

/// The binary body of an upload.
pub(super) struct BinaryBody;

impl ToSchema for BinaryBody {
    fn name() -> Cow<'static, str> {
        "BinaryUpload".into()
    }
}

impl PartialSchema for BinaryBody {
    fn schema() -> RefOr<Schema> {
        schema(json!({
            "type": "string",
            "format": "binary",
            "description": "`Hash-Count` × `Hash-Size` bytes: encodings with nothing between them.",
        }))
    }
}
