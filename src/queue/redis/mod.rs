//! The queue in Redis: one server, or a master that Sentinels watch.
//!
//! Every call is one Lua script, which is atomic; scripts use commands of Redis 6.2. All keys begin with `{entityd}:`. The key
//! `{entityd}:meta` has the identity of the data directory that the queue belongs to, a generation and a counter of changes.
//! The client knows both, in memory and in its data directory: a queue that was flushed, or went back to an older state,
//! is noticed by the next call. It gets a new generation, whose keys are others, and no job; then
//! [`renewals`](crate::queue::Broker::renewals) grows.
//!
//! Where one process alone uses the queue, it takes over every job that is held when it opens it. Several nodes agree on the
//! generation in the [database](crate::metadata::Commons); one that opens the queue takes over what ended processes held for
//! themselves. Jobs of workers on other machines wait for the end of their leases.

mod access;
mod acks;
mod attach;
mod broker;
mod checks;
mod claim;
mod connect;
mod event;
mod keeper;
mod link;
mod reply;
mod scripts;
mod sentinel;
mod settings;
mod standing;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

pub use access::{Access, QueueUrl, TlsFiles};
pub use broker::RedisBroker;
pub use settings::{Settings, Shared};
