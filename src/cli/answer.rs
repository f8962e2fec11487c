//! Reads responses of servers into memory, up to a limit, and makes texts from them safe for a terminal. The server at
//! an address may be any program.

use reqwest::Response;
use zeroize::Zeroizing;

use crate::telemetry::chain;

/// The maximum number of bytes of a response, enough for a list of several hundred thousand projects.
const BYTES_MAX: usize = 64 << 20;
/// The maximum number of bytes that are read of an error response.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// The maximum number of characters of a response that are shown.
const TEXT_MAX: usize = 300;

/// The reason why a response was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// The body is longer than [`BYTES_MAX`].
    #[error("the response is longer than {} MiB", BYTES_MAX >> 20)]
    TooLong,
    /// The connection broke.
    #[error("{0}")]
    Connection(String),
}

/// Returns the body of a response.
pub(super) async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let mut body = Zeroizing::new(Vec::new());
    let broken = |error: reqwest::Error| Unread::Connection(chain(&error.without_url()));
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > BYTES_MAX {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Returns the first bytes of an error response. Ignores read errors, because the status is already known and is the
/// main part of the message.
pub(super) async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() >= REFUSAL_BYTES_MAX {
            body.truncate(REFUSAL_BYTES_MAX);
            break;
        }
    }
    body
}

/// Returns the beginning of an untrusted text as one line, without terminal control characters.
pub(super) fn plain(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || is_control(letter));
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Returns true for a character that controls a terminal or the writing direction.
pub(super) fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_is_one_line_without_control_characters() {
        assert_eq!(plain("a\u{1b}]0;b\u{7}\u{9b}2J\u{202e}c\n\n d\0"), "a ]0;b 2J c d");
        assert_eq!(plain(&"x".repeat(400)).len(), 303);
    }
}
