//! The operations listener: probes, metrics, and the administration.
//!
//! It opens before anything else, so that a long start can be watched: `/startupz` and `/readyz` name the
//! missing parts, and the parts that [`Ops::open`] enables answer once the stores are open.

mod gauges;
mod inquiry;
mod probes;
mod readiness;
mod routes;

pub(in crate::http) use probes::Finding;
pub use probes::{HealthDependencies, Probes};
pub use readiness::{Phase, Readiness};
pub use routes::Ops;
