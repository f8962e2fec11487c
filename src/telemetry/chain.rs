//! Formats an error with its causes in one line.

use std::error::Error;

/// Returns an error and its causes, separated by colons. Omits a cause that is contained in the text before it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}
