//! The API's description of itself, made from the code that answers.

use std::collections::BTreeMap;

use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Server};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::api::{authorize, clks, projects, results, run_status, runs, status};
use super::problem::{MEDIA_TYPE, Problem};

/// The description of the API: an `OpenAPI` 3 document.
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// The same, of a server whose address is `root` where that is not where the description is asked for.
pub(super) fn document_of(root: Option<String>) -> utoipa::openapi::OpenApi {
    let mut document = document();
    document.servers = root.map(|root| vec![Server::new(root)]);
    document
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Anonlink Entity Service",
        description = "Privacy-preserving record linkage. Parties encode their records locally as Bloom filters \
                       (CLKs) and upload them; the service compares the encodings and says which records are \
                       the same person, without ever seeing one.\n\n\
                       Create a project, hand each party its update token, let them upload, post a run, poll \
                       its status, collect its result.",
    ),
    paths(
        status::status,
        status::version,
        projects::list,
        projects::create,
        projects::describe,
        projects::delete,
        authorize::authorize,
        clks::json,
        clks::binary,
        runs::list,
        runs::post,
        runs::describe,
        runs::delete,
        run_status::status,
        results::result,
    ),
    components(schemas(Problem)),
    tags(
        (name = "projects", description = "Who takes part, and what they want to learn."),
        (name = "uploads", description = "Each party brings its encodings, once."),
        (name = "runs", description = "Linkages of what the parties brought."),
        (name = "service", description = "The service itself."),
    ),
    modifiers(&Tokens),
)]
struct Description;

/// The tokens, all in one header.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, opens) in [
            (
                "result_token",
                "Opens everything in a project but uploading. The token alone, or after `Bearer`.",
            ),
            ("update_token", "Lets one party upload, once. The token alone, or after `Bearer`."),
            ("receipt_token", "In `permutations` projects, lets a party that has uploaded see its result."),
        ] {
            let header = ApiKeyValue::with_description("Authorization", opens);
            components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(header)));
        }
    }
}

/// Declares groups of refusals that endpoints share.
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
    /// Of every endpoint that reads what is stored.
    Fault {
        500: "The server failed; its log says why.",
    }
    /// Of every endpoint that writes something down.
    WriteFault {
        500: "The server failed; its log says why.",
        507: "The server's disk is full. Nothing has changed.",
    }
    /// Of endpoints that want a token.
    Guarded {
        400: "The request is malformed, or lacks its `Authorization` header.",
        403: "The token does not open this, or there is no such project or run.",
    }
    /// Of endpoints that the operator may keep to the administrator.
    Founders {
        401: "The operator keeps this to the administrator: `Authorization` holds the admin token.",
    }
    /// Of endpoints that read a small JSON object.
    SmallBody {
        400: "The body is not what is described here, or a header is missing.",
        408: "The body stopped arriving.",
        413: "The body is too large.",
        415: "The body is not JSON, or has a content coding other than gzip, deflate and zstd.",
    }
    /// Of endpoints that take uploads.
    UploadBody {
        400: "A header is missing or wrong, or the upload is malformed. Nothing of it is kept; the token stays unused.",
        403: "The token does not open this or has been used, or the project uses blocking and the upload has no blocks, or the other way round.",
        408: "The body stopped arriving. The token stays unused.",
        413: "The body is too large. The token stays unused.",
        415: "The body is of another media type, or has a content coding other than gzip, deflate and zstd.",
        503: "As many uploads as the server reads at a time are under way, or another upload with this token has not ended. `Retry-After` says when to come again.",
        507: "The server's disk is full. The token stays unused.",
    }
    /// Of uploads as they are.
    UploadFault {
        500: "The server failed; its log says why. The token stays unused.",
    }
    /// Of uploads that may name objects.
    UploadOrDisabled {
        500: "The upload names objects and the object store is not enabled (title `Feature Disabled`), or the server failed. The token stays unused.",
    }
    /// Of endpoints that would use the object store.
    Disabled {
        500: "The object store is not enabled, or hands out no credentials (title `Feature Disabled`), or the server failed.",
        503: "The object store does not answer now.",
    }
    /// Of posting a run.
    ProjectInError {
        500: "A party's data cannot be used: the project is in error until that party has uploaded again. Or the server failed.",
        507: "The server's disk is full. Nothing has changed.",
    }
    /// Of collecting a result.
    NoResult {
        404: "The run has no result yet.",
        500: "The run failed, and its status says why. Or the stored result is missing or damaged, or the server failed.",
        503: "The object store is to hand out credentials and does not answer now.",
    }
}

fn refusal((status, when): (u16, &str)) -> (String, RefOr<Response>) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(when).content(MEDIA_TYPE, problem).build();
    (status.to_string(), response.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Run with `UPDATE_OPENAPI=1` to write it anew.
    #[test]
    fn the_description_in_assets_is_the_one_that_is_served() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/openapi.yaml");
        let served = document().to_yaml().unwrap();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(&path, &served).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == served, "assets/openapi.yaml is stale: run this test with UPDATE_OPENAPI=1");
    }
}
