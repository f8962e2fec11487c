//! Corrects documents so that every XML 1.0 parser accepts them and reads them correctly.

use bytes::Bytes;
use memchr::memmem;

use crate::buckets::is_in_xml;

/// The character in place of those that XML 1.0 cannot represent.
const REPLACEMENT: char = '\u{fffd}';

/// Replaces characters that XML 1.0 cannot represent, and escapes carriage returns, which parsers would read as line
/// feeds. `s3s` writes both unchanged.
pub(super) fn readable(document: Bytes) -> Bytes {
    let suspicious = |byte: &u8| *byte < b' ' && *byte != b'\n' && *byte != b'\t' || *byte == 0xEF;
    if !document.iter().any(suspicious) {
        return document;
    }
    let mut readable = String::with_capacity(document.len() + 16);
    for character in String::from_utf8_lossy(&document).chars() {
        match character {
            '\r' => readable.push_str("&#13;"),
            character if is_in_xml(character) => readable.push(character),
            _ => readable.push(REPLACEMENT),
        }
    }
    readable.into()
}

/// Adds `message` to an error document that has none.
pub(super) fn with_message(document: Bytes, message: &str) -> Bytes {
    const END_OF_CODE: &[u8] = b"</Code>";
    let end = memmem::find(&document, END_OF_CODE).map(|at| at + END_OF_CODE.len());
    let Some(end) = end.filter(|_| memmem::find(&document, b"<Message>").is_none()) else { return document };
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (before, after) = document.split_at(end);
    [before, b"<Message>", message.as_bytes(), b"</Message>", after].concat().into()
}

/// Removes the quotes of the ETag, which has none in the document of an object's attributes.
pub(super) fn with_bare_etag(document: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(document);
    text.replacen("<ETag>\"", "<ETag>", 1).replacen("\"</ETag>", "</ETag>", 1).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_what_xml_can_hold() {
        let read = |text: &'static str| String::from_utf8(readable(text.into()).to_vec()).unwrap();
        assert_eq!(read("<Key>a\tb\nü</Key>"), "<Key>a\tb\nü</Key>");
        assert_eq!(read("<Key>\u{1}\u{1f}\0\u{fffe}</Key>"), "<Key>\u{fffd}\u{fffd}\u{fffd}\u{fffd}</Key>");
        assert_eq!(read("<Key>a\rb</Key>"), "<Key>a&#13;b</Key>");
    }

    #[test]
    fn a_document_says_one_message() {
        let error = "<Error><Code>C</Code></Error>";
        let said = "<Error><Code>C</Code><Message>a &lt; b</Message></Error>";
        assert_eq!(with_message(error.into(), "a < b"), said);
        assert_eq!(with_message(said.into(), "other"), said);
        assert_eq!(with_bare_etag(&"<ETag>\"e\"</ETag>".into()), "<ETag>e</ETag>");
    }
}
