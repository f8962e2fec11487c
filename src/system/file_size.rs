//! The limit on the size of a file.

use rustix::process::{Resource, getrlimit};

/// Returns the maximum size of a file, if the process has a limit.
pub fn max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}
