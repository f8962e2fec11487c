//! An error with its causes, in one line.

use std::error::Error;

/// Returns an error and its causes, joined by colons; a cause that the text before it contains is not repeated.
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
