//! The OpenAPI description of the API, generated from the handlers.

use utoipa::openapi::Server;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api::{authorize, clks, forecasts, partial_uploads, projects, results, run_status, runs, status};
use super::problem::Problem;

/// Returns the description of the API: an `OpenAPI` 3 document.
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Returns the description with `root` as the server's address, if that differs from the address of the
/// request.
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
                       (CLKs) and upload them; the service compares the encodings and reports which records \
                       belong to the same person, without ever seeing a record.\n\n\
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
        partial_uploads::describe,
        partial_uploads::append,
        partial_uploads::cancel,
        forecasts::forecast,
        runs::list,
        runs::post,
        runs::describe,
        runs::delete,
        run_status::status,
        results::result,
    ),
    components(schemas(Problem)),
    tags(
        (name = "projects", description = "The parties of a linkage, and the type of its result."),
        (name = "uploads", description = "Each party uploads its encodings, once."),
        (name = "runs", description = "Linkages of the uploaded encodings."),
        (name = "service", description = "The service itself."),
    ),
    modifiers(&Tokens),
)]
struct Description;

/// Adds the tokens, which share one header.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, opens) in [
            (
                "result_token",
                "Gives access to everything in a project except uploading. The token alone, or after `Bearer`.",
            ),
            ("update_token", "Lets one party upload, once. The token alone, or after `Bearer`."),
            ("receipt_token", "In `permutations` projects, lets a party that has uploaded see its result."),
        ] {
            let header = ApiKeyValue::with_description("Authorization", opens);
            components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(header)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Set `UPDATE_OPENAPI=1` to rewrite the file.
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
