//! Words to the outside: results on standard output, complaints on standard error.

use std::io::{self, Write};

use super::Failure;

/// Writes `text` to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

/// Writes one line to standard error.
pub(super) fn complain(sentence: &str) {
    // Nobody is left to hear that nobody listens.
    let _ = writeln!(io::stderr(), "entityd: {sentence}");
}
