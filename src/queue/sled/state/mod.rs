//! The state of the queue in memory: jobs, leases, delays, dead letters, and the writes that are pending.

pub(super) mod segment;
pub(super) mod ids;
pub(super) mod dead_letters;
pub(super) mod delays;
pub(super) mod leases;
pub(super) mod rotation;
pub(super) mod scheduler;
pub(super) mod pending;
pub(super) mod queue_state;
pub(super) mod lease_ops;
pub(super) mod load;
