//! The endpoint for S3 clients: buckets over HTTP, on a separate listener.
//!
//! The `s3s` crate implements the protocol. `validate` and `body` reject requests that it would wrongly accept,
//! `service` implements the operations with [`buckets`](crate::buckets), and `access` decides about rights by root
//! credentials, temporary credentials and policies.

pub mod access;
mod normalize;
mod response;
mod body;
pub mod chunked;
mod disabled;
pub mod credentials;
mod endpoint;
mod validate;
mod host;
pub mod issuer;
pub mod owners;
pub mod policy;
mod routes;
mod service;
pub mod session;
mod slow_down;
pub mod sts;
mod sweep;
mod xml;

pub use disabled::disabled;
pub use endpoint::{EndpointConfig, endpoint};
pub use service::Results;
pub use slow_down::slow_down;
pub use sweep::sweep;
