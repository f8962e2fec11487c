//! The REST API, its description, and the operations listener.
//!
//! The middleware merges slashes and writes the access log ([`access_log`]); the [`router`] finds a handler;
//! [`auth`] identifies the caller by token; an error becomes a [`problem`]. Uploads stream through [`upload`]
//! to the spool.

mod access_log;
pub mod admin;
mod api;
mod arrival;
pub(crate) mod arrow;
mod auth;
mod body;
mod body_reader;
mod compress;
mod cors;
mod dashboard;
mod docs;
mod etag;
mod forecast;
mod form;
mod guides;
mod live;
mod openapi;
mod ops;
mod problem;
mod rate_limit;
mod receipt;
mod redirect;
mod responses;
mod result_forms;
mod resumable;
mod router;
mod schemas;
mod settings;
mod spooled;
mod state;
mod upload;
mod upload_credentials;
pub mod workers;

pub use api::remove_unneeded;
pub use compress::Compress;
pub use cors::Origins;
pub use live::Live;
pub use openapi::document;
pub use ops::{HealthDependencies, Ops, Phase, Probes, Readiness};
pub use problem::refuse;
pub use rate_limit::{limit_api, limit_ops};
pub use redirect::redirect;
pub use router::{RESERVED_PATHS, api};
pub use settings::ApiSettings;
pub use state::ApiState;
pub use upload_credentials::{Bucket, ClientStore, Endpoint};
