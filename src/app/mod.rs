//! Assembles a server from its parts, runs it and stops it.

mod addresses;
mod announce;
mod banner;
mod database;
mod error;
mod identity;
pub mod inspect;
mod joining;
mod listen;
mod listeners;
mod objects;
mod ops_listener;
mod owner;
mod queue;
mod resources;
pub mod restored;
mod s3;
mod server;
mod settings;
mod sharing;
pub mod snapshot;
mod stores;
mod systemd;
#[cfg(test)]
mod tests;
pub mod transfer;
mod versions;
mod worker_node;

pub use banner::Banner;
pub use error::Error;
pub(crate) use identity::METADATA;
pub use queue::RESTORED;
pub use s3::CREDENTIALS as S3_CREDENTIALS;
pub use server::{Server, run, start};
pub use versions::{Versions, migrate, versions};
