//! What a test replaces: time and chance. The pool of cores that computes; the data directory, its room and its
//! secrets; `SQLite` files with one writer. Where a crash test reaches in: breakpoints.

pub mod breakpoint;
pub mod clock;
pub mod compute;
pub mod data_dir;
pub mod disk;
pub mod entropy;
pub mod secret;
pub mod sqlite;
