//! Escapes in JSON texts.

use super::super::Rejection;

/// An error in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// An unknown escape, or a control character that is not escaped.
    Syntax,
    /// The text is not UTF-8, or has half of a surrogate pair.
    Unicode,
}

impl Broken {
    /// Returns the rejection for the text at `offset`.
    pub(super) const fn at(self, offset: u64) -> Rejection {
        match self {
            Self::Syntax => {
                Rejection::Syntax { offset, expected: "a text without control characters or unknown escapes" }
            }
            Self::Unicode => Rejection::NotUnicode { offset },
        }
    }
}

/// The length of the longest escape: a surrogate pair.
pub(super) const ESCAPE_BYTES_MAX: usize = 12;

/// Returns the character of the escape at the start of `text`, and the escape's length.
pub(super) fn first(text: &[u8]) -> Result<(char, usize), Broken> {
    let character = match text.get(1).ok_or(Broken::Syntax)? {
        b'u' => return unicode(text),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        &same @ (b'"' | b'\\' | b'/') => char::from(same),
        _ => return Err(Broken::Syntax),
    };
    Ok((character, 2))
}

fn unicode(text: &[u8]) -> Result<(char, usize), Broken> {
    let high = hex4(text)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).map(|character| (character, 6)).ok_or(Broken::Unicode);
    }
    let rest = &text[6..];
    if !rest.starts_with(b"\\u") {
        return Err(Broken::Unicode);
    }
    let low = hex4(rest)?;
    if !(0xdc00..0xe000).contains(&low) {
        return Err(Broken::Unicode);
    }
    let joined = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    char::from_u32(joined).map(|character| (character, ESCAPE_BYTES_MAX)).ok_or(Broken::Unicode)
}

/// Returns the value of the four hex digits after `\u`.
fn hex4(text: &[u8]) -> Result<u32, Broken> {
    let digits = text.get(2..6).ok_or(Broken::Syntax)?;
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(Broken::Syntax)?;
        Ok(value << 4 | digit)
    })
}

/// Writes `raw` to `out` with its escapes resolved. UTF-8 is not checked.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    out.clear();
    let mut rest = raw;
    while let Some(found) = memchr::memchr(b'\\', rest) {
        append_plain(&rest[..found], out)?;
        let (character, length) = first(&rest[found..])?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[found + length..];
    }
    append_plain(rest, out)
}

fn append_plain(plain: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    if plain.iter().any(|&byte| byte < b' ') {
        return Err(Broken::Syntax);
    }
    out.extend_from_slice(plain);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &str) -> Result<String, Broken> {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn escapes_mean_what_json_says() {
        assert_eq!(unescaped(r#"a\"\\\/\b\f\n\r\t\u0041z"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tAz");
        assert_eq!(unescaped(r"\ud83d\ude00\u0000").unwrap(), "\u{1f600}\0");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for wrong in [r"\x", r"\u12", r"\u12g4", r"\u+123", "\\", "a\nb"] {
            assert_eq!(unescaped(wrong), Err(Broken::Syntax), "{wrong}");
        }
        for half in [r"\ud800", r"\ud800A", r"\ud800\u0041", r"\udc00"] {
            assert_eq!(unescaped(half), Err(Broken::Unicode), "{half}");
        }
    }
}
