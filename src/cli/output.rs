//! Writes to standard output and standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, fcntl_getfd};
use serde_json::Value;

use super::{Failure, progress};

/// Set if standard output was closed when the process was started (`>&-`).
static CLOSED: AtomicBool = AtomicBool::new(false);

ctor::declarative::ctor! {
    /// Detects a closed output. Runs before the standard library, which replaces a closed output by /dev/null and so
    /// loses the output silently.
    #[ctor(unsafe)]
    fn look() {
        CLOSED.store(fcntl_getfd(rustix::stdio::stdout()) == Err(Errno::BADF), Ordering::Relaxed);
    }
}

/// Returns standard output, or a failure if it is closed.
pub(super) fn stdout() -> Result<io::Stdout, Failure> {
    if CLOSED.load(Ordering::Relaxed) {
        return Err(Failure::output(&Errno::BADF.into()));
    }
    Ok(io::stdout())
}

/// Writes `text` to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout()?.lock();
    let written = progress::aside(|| stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    written.map_err(|error| Failure::output(&error))
}

/// Prints the response of a server as JSON, or as text made by `text`.
pub(super) fn answer(answer: &Value, json: bool, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    print(&if json { format!("{answer:#}\n") } else { text(answer) })
}

/// Writes a line that is not an error to standard error.
pub(super) fn note(sentence: &str) {
    progress::tell(sentence);
}
