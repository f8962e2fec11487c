//! The door for people and programs: the REST API, its description, and the health check.
//!
//! A request passes one corridor: its slashes are merged, it gets an id and a line in the log
//! ([`access_log`]), its path finds a handler ([`router`]), the caller is recognised by token ([`auth`]),
//! and what comes back is an answer or a [`problem`]. Uploads stream through [`upload`] to the spool.

mod access_log;
pub mod admin;
mod api;
mod arrival;
mod auth;
mod body;
mod body_reader;
mod compress;
mod cors;
mod docs;
mod guides;
mod openapi;
mod ops;
mod problem;
mod rate_limit;
mod receipt;
mod redirect;
mod responses;
mod router;
mod schemas;
mod settings;
mod state;
mod upload;
mod upload_credentials;

pub use compress::Compress;
pub use cors::Origins;
pub use openapi::document;
pub use ops::{Dependencies, Ops, Phase, Readiness};
pub use problem::refuse;
pub use rate_limit::{limit_api, limit_ops};
pub use redirect::redirect;
pub use router::{RESERVED_PATHS, api};
pub use settings::Settings;
pub use state::State;
pub use upload_credentials::{Bucket, ClientStore, Endpoint};
