//! The operations listener: probes, metrics, and the admin API.
//!
//! It is opened first, so that a long start can be observed: until the stores are open, `/startupz` and `/readyz`
//! report the phase of the start. Then [`Ops::open`] enables the other parts.

mod gauges;
mod inquiry;
mod probes;
mod readiness;
mod routes;

pub(in crate::http) use probes::Finding;
pub use probes::{HealthDependencies, Probes};
pub use readiness::{Phase, Readiness};
pub use routes::Ops;
