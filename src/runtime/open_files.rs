//! How many files and sockets the process may have open at a time.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Allows the process as many open files as the system lets it have. Where that fails, it has what it had.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("cannot raise the limit on open files: {error}");
    }
}

/// How many it may have open.
pub fn max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
