//! Quotes values for CSV.

use std::borrow::Cow;

/// Returns a value for a comma-separated CSV, quoted if necessary (RFC 4180).
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_there_where_they_are_needed() {
        for (value, written) in
            [("a b", "a b"), ("", ""), ("a,b", "\"a,b\""), ("q\"q", "\"q\"\"q\""), ("x\ny", "\"x\ny\"")]
        {
            assert_eq!(quoted(value), written);
        }
    }
}
