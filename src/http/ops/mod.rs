//! What the operator's listener answers: probes, figures, and the way to the administration.
//!
//! It is open before anything else is, so that a long start can be watched: `/startupz` and `/readyz` say what is
//! missing, and everything behind [`Ops::open`] is answered once there is something to answer with.

mod gauges;
mod inquiry;
mod probes;
mod readiness;
mod routes;

pub use probes::Dependencies;
pub use readiness::{Phase, Readiness};
pub use routes::Ops;
