//! The queue in Redis: one server, or a master that Sentinels watch.
//!
//! Every call is one Lua script, which is atomic; scripts use commands of Redis 6.2. All keys begin with
//! `{entityd}:`. The key `{entityd}:meta` contains the identity of the data directory that the queue belongs to, a
//! generation and a counter of changes. The client knows both, in memory and in its data directory: if the queue was
//! flushed, or went back to an older state, the next call notices. The queue gets a new generation, with other keys
//! and no jobs; then [`renewals`](crate::queue::Broker::renewals) grows.
//!
//! A process that alone uses the queue takes over all held jobs when it opens the queue. Several nodes agree on the
//! generation in the [database](crate::metadata::Commons); a node that opens the queue takes over the jobs that ended
//! processes held for themselves. Jobs of workers on other machines wait for the end of their leases.

mod access;
mod acks;
mod attach;
mod broker;
mod checks;
mod claim;
mod connect;
mod event;
mod reconnect;
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
