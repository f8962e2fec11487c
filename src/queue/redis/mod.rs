//! The queue in Redis: one server, or a master that Sentinels watch.
//!
//! Every call is one Lua script, which is atomic; scripts use commands of Redis 6.2. All keys begin with
//! `{entityd}:`. The key `{entityd}:meta` contains the identity of the data directory to which the queue belongs, a
//! *generation* (a random name of this instance of the queue) and a counter of changes. The client remembers the
//! generation and the counter, in memory and in its data directory, so the next call detects that the queue was flushed
//! or went back to an older state. The queue then gets a new generation, with other keys and no jobs, and
//! [`renewals`](crate::queue::Broker::renewals) grows.
//!
//! Under Sentinels, statistics and lists that may lag come from a replica that has every change which this process has
//! seen. What decides about jobs is read from the master.
//!
//! A process that alone uses the queue takes over all leased jobs when it opens the queue. Several nodes agree on the
//! generation in the [database](crate::metadata::Commons). A node that opens the queue takes over the jobs that ended
//! processes held for their own workers. Jobs of workers on other machines wait for the end of their leases.

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
mod replica;
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
