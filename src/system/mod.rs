//! Access to the machine: the data directory with its lock, secrets and ballast; disk space, memory, files, threads and
//! signals; connections to other machines; `SQLite` files with one writer; text in other encodings.

pub mod audit;
pub mod ballast;
pub mod data_dir;
pub mod disk;
pub mod engine;
pub mod file_size;
pub mod file_system;
pub mod folder;
pub mod identity;
pub(crate) mod mark;
pub mod memory;
pub mod migration;
pub mod open_files;
pub mod outgoing;
pub mod permission;
pub mod place;
pub mod regular;
pub mod removals;
pub mod secret;
pub mod signals;
pub mod sqlite;
pub mod text;
pub mod threads;
