//! Stores the metadata: projects, parties, runs, access to them, and the outbox of pending work.

mod columns;
pub mod commons;
#[cfg(test)]
mod conformance;
mod counted;
mod location;
pub mod postgres;
mod records;
pub mod sqlite;
pub mod store;
mod tombstones;

pub use commons::Commons;
pub use location::{Location, Migrate, without_password};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use store::{Commit, Deleted, Duty, Error, Listed, ListedRun, Mark, Message, Runs, Status, Store};
