//! The health and the version of the service.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::problem::Problem;
use crate::http::responses::Fault;

/// The health of the service.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ServiceStatus {
    #[schema(example = "ok")]
    status: &'static str,
    /// The number of projects.
    project_count: u64,
    /// Comparisons per second of the latest run; 1 before the first run.
    rate: u64,
}

/// The versions of the service.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ServiceVersion {
    /// The version of the library `anonlink` with whose results the service agrees.
    #[schema(example = "0.15.3")]
    anonlink: &'static str,
    /// The version of this service.
    #[schema(example = "v0.1.0")]
    entityservice: &'static str,
    /// Always `none`: the service has no Python interpreter.
    #[schema(example = "none")]
    python: &'static str,
}

/// Health of the service
///
/// Cheap enough for the health check of a load balancer.
#[utoipa::path(get, path = "/api/v1/status", tag = "service", operation_id = "status",
    responses((status = 200, description = "The service is healthy.", body = ServiceStatus), Fault))]
pub(in crate::http) async fn status(State(state): State<ApiState>) -> Result<Json<ServiceStatus>, Problem> {
    let status = state.coordinator.status().await?;
    Ok(Json(ServiceStatus { status: "ok", project_count: status.projects, rate: status.rate.unwrap_or(1) }))
}

/// Versions of the service and of the reference library
#[utoipa::path(get, path = "/api/v1/version", tag = "service", operation_id = "version",
    responses((status = 200, description = "The versions.", body = ServiceVersion)))]
pub(in crate::http) async fn version() -> Json<ServiceVersion> {
    Json(ServiceVersion {
        anonlink: "0.15.3",
        entityservice: concat!("v", env!("CARGO_PKG_VERSION")),
        python: "none",
    })
}
