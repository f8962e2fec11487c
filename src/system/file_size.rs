//! The limit on the size of a file.

use rustix::process::{Resource, getrlimit};

/// Returns the largest size of a file, if there is a limit.
pub fn max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}
