//! Escapes U+0000 in texts, which PostgreSQL rejects.
//!
//! U+FFFF, which is not a character, is the escape: followed by `0` it stands for U+0000, followed by U+FFFF for
//! itself.

const ESCAPE: char = '\u{ffff}';

/// Returns the stored form of the text.
pub(super) fn escaped(text: &str) -> String {
    if !text.contains(['\0', ESCAPE]) {
        return text.to_owned();
    }
    text.replace(ESCAPE, "\u{ffff}\u{ffff}").replace('\0', "\u{ffff}0")
}

/// Returns the text of a stored form.
pub(super) fn plain(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut plain = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        if character != ESCAPE {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('0') => plain.push('\0'),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in ["", "a", "\0", "0\0\0", "\u{ffff}", "\u{ffff}0", "a\u{ffff}\0\u{ffff}b", "\u{fffe}"] {
            let stored = escaped(text);
            assert!(!stored.contains('\0'));
            assert_eq!(plain(stored), text);
        }
    }
}
