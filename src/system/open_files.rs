//! The limit on open files and sockets, and retries while it is reached.

use std::error::Error;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::runtime::clock::Stopwatch;

/// The maximum time of retries while too many files are open.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// The pause between two retries.
const PAUSE: Duration = Duration::from_millis(20);
/// The system's errors for too many open files: of the process, and of the machine.
const FULL: [&str; 2] = ["(os error 24)", "(os error 23)"];
/// The numbers of files merged at once with a low and with a high limit on open files.
const MERGED: (u64, u64) = (4, 128);

/// Raises the limit on open files to the maximum that the system permits. If that fails, the old limit remains.
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

/// Returns the number of files that the process may have open.
pub fn max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the number of files that a job merges at once: a small part of the files that may be open.
pub fn merged_at_once() -> usize {
    (max() / 32).clamp(MERGED.0, MERGED.1) as usize
}

/// Returns the number of files that a job opens at once, before it merges them. At least 1.
pub fn opened_at_once() -> usize {
    (merged_at_once() / 8).max(1)
}

/// Opens a file. While too many files are open, retries for up to half a minute. Blocks.
///
/// # Errors
/// The errors of `open`.
pub fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let waited = Stopwatch::start();
    loop {
        match open() {
            Err(error) if is_full(&error) && waited.elapsed() < RETRY_FOR => sleep(PAUSE),
            done => return done,
        }
    }
}

/// Opens a file like [`patiently`], for asynchronous callers.
///
/// # Errors
/// The errors of `open`.
pub async fn patiently_async<T, E: Error + 'static, F: Future<Output = Result<T, E>>>(
    mut open: impl FnMut() -> F,
) -> Result<T, E> {
    let waited = Stopwatch::start();
    loop {
        match open().await {
            Err(error) if is_full(&error) && waited.elapsed() < RETRY_FOR => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// Returns true if the error means that too many files are open. The text is compared, since an error to which a path
/// was added no longer has its number.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let text = error.to_string();
    FULL.iter().any(|full| text.contains(full)) || error.source().is_some_and(is_full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[test]
    fn a_full_table_is_waited_for_and_nothing_else_is() {
        let mut answers = vec![Ok(7), Err(full()), Err(io::Error::other(full()))];
        assert_eq!(patiently(|| answers.pop().unwrap()).unwrap(), 7);
        let mut asked = 0;
        let denied = || {
            asked += 1;
            Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied))
        };
        assert!(patiently(denied).is_err());
        assert_eq!(asked, 1);
    }

    #[tokio::test]
    async fn a_full_table_is_waited_for_asynchronously() {
        let mut answers = vec![Ok(7), Err(full())];
        assert_eq!(patiently_async(|| std::future::ready(answers.pop().unwrap())).await.unwrap(), 7);
    }
}
