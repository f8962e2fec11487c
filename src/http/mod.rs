//! The door for people and programs: the REST API, its description, and the health check.
//!
//! A request passes one corridor: its slashes are merged, it gets an id and a line in the log
//! ([`log`](mod@log)), its path finds a handler ([`router`]), the caller is recognised by token ([`auth`]),
//! and what comes back is an answer or a [`problem`]. Uploads stream through [`upload`] to the spool.

pub mod admin;
mod api;
mod arrival;
mod auth;
mod body;
mod compress;
mod cors;
mod docs;
mod external;
mod guides;
mod log;
mod name;
mod openapi;
mod ops;
mod outside;
mod problem;
mod receipt;
mod receive;
mod router;
mod schemas;
mod serve;
mod settings;
mod state;
mod trace;
mod upload;

pub use compress::Compress;
pub use cors::Origins;
pub use external::{Bucket, Endpoint, External};
pub use log::Line;
pub use name::Name;
pub use openapi::document;
pub use ops::{Dependencies, Ops, Phase, Readiness};
pub use outside::BasePath;
pub use router::api;
pub use serve::{Entrance, ForwardedHost, Gate, Patience, ProxyHeader, Trust, redirect, serve};
pub use settings::Settings;
pub use state::State;
