//! What exists and who may see it: projects, parties, runs, and the outbox of what follows.

#[cfg(test)]
mod conformance;
pub mod sqlite;
pub mod store;

pub use sqlite::Sqlite;
pub use store::{Commit, Deleted, Duty, Error, Listed, ListedRun, Mark, Message, Runs, Status, Store};
