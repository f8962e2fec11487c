//! Projects, parties, runs, access to them, and the outbox of pending work.

#[cfg(test)]
mod conformance;
pub mod sqlite;
pub mod store;

pub use sqlite::Sqlite;
pub use store::{Commit, Deleted, Duty, Error, Listed, ListedRun, Mark, Message, Runs, Status, Store};
