//! What a test replaces: time and chance. The pool of cores that computes; the data directory, its room, what is
//! kept of it for emergencies, and its secrets; how many files and threads there may be, and how large files; how long something has failed; content codings; which signals arrive; `SQLite` files with one writer; text as other systems leave it. Where a crash test reaches in: breakpoints.

pub mod breakpoint;
pub mod clock;
pub mod coding;
pub mod compute;
pub mod data_dir;
pub mod disk;
pub mod entropy;
pub mod file_size;
pub mod file_system;
pub mod identity;
pub mod memory;
pub mod open_files;
pub mod outage;
pub mod permission;
pub mod reserve;
pub mod secret;
pub mod signals;
pub mod sqlite;
pub mod text;
pub mod threads;
