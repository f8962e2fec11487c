//! A pull tokenizer for JSON from a stream, over one buffer of fixed size.
//!
//! General readers (`serde_json::from_reader`, `struson`) reach about 350 MB/s on plain encodings. To preserve the
//! digits of numbers they must copy every value: 136 MB/s with five blocks for each record. This tokenizer returns
//! texts in place in the buffer, and finds their ends with `memchr`.

use std::io::Read;

use super::super::binary::read_some;
use super::super::{Error, Rejection};
use super::escape;

/// The size of the buffer; no text or number may be longer.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// The nesting limit of arrays and objects.
pub(super) const DEPTH_MAX: usize = 128;

/// A tokenizer of the JSON from `source`.
pub(super) struct Tokens<R> {
    source: R,
    buffer: Box<[u8]>,
    /// `buffer[at..end]` was read from the source and is not yet consumed.
    at: usize,
    end: usize,
    /// The offset of `buffer[0]` in the document.
    base: u64,
    /// The latest text that had escapes, unescaped.
    unescaped: Vec<u8>,
}

/// The position of a text in the buffer, without its quotes. The text is consumed but still readable.
#[derive(Clone, Copy)]
pub(super) struct Span {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<R: Read> Tokens<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { source, buffer, at: 0, end: 0, base: 0, unescaped: Vec::new() }
    }

    /// Begins the document: skips a byte order mark, which RFC 8259 allows. Rejects UTF-16 and UTF-32, which the first
    /// two bytes reveal because JSON begins with an ASCII character.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        while self.window().len() < 3 && self.more()? {}
        match self.window() {
            [0xef, 0xbb, 0xbf, ..] => self.advance(3),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => {
                return Err(Rejection::Encoding.into());
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the offset of the next byte in the document.
    pub(super) const fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Returns the bytes that were read and are not yet consumed.
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// Consumes `count` bytes of the window.
    pub(super) const fn advance(&mut self, count: usize) {
        self.at += count;
    }

    pub(super) fn expected<T>(&self, expected: &'static str) -> Result<T, Error> {
        Err(Rejection::Syntax { offset: self.offset(), expected }.into())
    }

    /// Reads more after the window; returns false at the end of the document.
    pub(super) fn more(&mut self) -> Result<bool, Error> {
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            self.base += self.at as u64;
            self.end -= self.at;
            self.at = 0;
        }
        if self.end == self.buffer.len() {
            return Err(Rejection::TooLong { offset: self.base, bytes_max: BUFFER_BYTES }.into());
        }
        let read = read_some(&mut self.source, &mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read != 0)
    }

    /// Like [`Tokens::more`], but the end of the document is an error.
    pub(super) fn must_have_more(&mut self) -> Result<(), Error> {
        if self.more()? {
            return Ok(());
        }
        Err(Rejection::EndsEarly { offset: self.base + self.end as u64 }.into())
    }

    /// Returns the next byte that is not whitespace, without consuming it; `None` at the end of the document.
    fn peek_or_end(&mut self) -> Result<Option<u8>, Error> {
        loop {
            for (skipped, &byte) in self.buffer[self.at..self.end].iter().enumerate() {
                if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                    self.at += skipped;
                    return Ok(Some(byte));
                }
            }
            self.at = self.end;
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Returns the next byte that is not whitespace, without consuming it.
    pub(super) fn peek(&mut self) -> Result<u8, Error> {
        self.peek_or_end()?.ok_or_else(|| Rejection::EndsEarly { offset: self.offset() }.into())
    }

    /// Consumes `byte`, which must be next.
    pub(super) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Error> {
        if self.peek()? != byte {
            return self.expected(expected);
        }
        self.advance(1);
        Ok(())
    }

    /// Checks that only whitespace follows.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        match self.peek_or_end()? {
            None => Ok(()),
            Some(_) => self.expected("the end of the document"),
        }
    }

    /// Consumes the comma before the next item, or `close`; returns true if there is another item. `first` must be true
    /// at the first call.
    pub(super) fn item(&mut self, first: &mut bool, close: u8) -> Result<bool, Error> {
        let next = self.peek()?;
        let first = std::mem::replace(first, false);
        if next == close {
            self.advance(1);
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        match (next, close) {
            (b',', _) => self.advance(1),
            (_, b']') => return self.expected("`,` or `]`"),
            _ => return self.expected("`,` or `}`"),
        }
        Ok(true)
    }

    /// Consumes a member's key and the colon after it; `read` converts the key.
    pub(super) fn key<T>(&mut self, read: impl FnOnce(&str) -> T) -> Result<T, Error> {
        if self.peek()? != b'"' {
            return self.expected("a key in double quotes");
        }
        let key = read(self.text()?);
        self.take(b':', "`:`")?;
        Ok(key)
    }

    /// Consumes a comma and a text after it, and returns the text, if all of it is in the window, in ASCII, and without
    /// escapes. Otherwise consumes nothing: what follows may be anything.
    pub(super) fn following_text(&mut self) -> Option<&[u8]> {
        let start = self.at
            + match self.window() {
                [b',', b' ', b'"', ..] => 3,
                [b',', b'"', ..] => 2,
                _ => return None,
            };
        let (words, _) = self.buffer[start..self.end].as_chunks();
        let mut length = 0;
        for word in words {
            let word = u64::from_le_bytes(*word);
            let special = special_bytes(word);
            if special == 0 {
                length += 8;
                continue;
            }
            length += special.trailing_zeros() as usize / 8;
            let end = start + length;
            if self.buffer[end] != b'"' {
                return None;
            }
            self.at = end + 1;
            return Some(&self.buffer[start..end]);
        }
        None
    }

    /// Consumes the text whose opening quote is next.
    pub(super) fn text(&mut self) -> Result<&str, Error> {
        let span = self.span()?;
        self.checked(span)
    }

    /// Consumes the text whose opening quote is next, without checking its content.
    pub(super) fn span(&mut self) -> Result<Span, Error> {
        self.advance(1);
        let mut escaped = false;
        // Relative to `at`, which changes when more is read.
        let mut scanned = 0;
        loop {
            let rest = &self.window()[scanned..];
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(found) if rest[found] == b'"' => {
                    let start = self.at;
                    let end = start + scanned + found;
                    self.at = end + 1;
                    return Ok(Span { start, end, escaped });
                }
                Some(found) if found + 1 < rest.len() => {
                    escaped = true;
                    scanned += found + 2;
                }
                Some(found) => {
                    scanned += found;
                    self.must_have_more()?;
                }
                None => {
                    scanned += rest.len();
                    self.must_have_more()?;
                }
            }
        }
    }

    /// Returns the bytes of a text just consumed, if it has no escapes. They may contain control characters and invalid
    /// UTF-8.
    pub(super) fn plain(&self, span: Span) -> Option<&[u8]> {
        (!span.escaped).then(|| &self.buffer[span.start..span.end])
    }

    /// Returns the text just consumed, checked and unescaped.
    pub(super) fn checked(&mut self, span: Span) -> Result<&str, Error> {
        let raw = &self.buffer[span.start..span.end];
        let offset = self.base + span.start as u64;
        let found = if span.escaped {
            escape::unescape(raw, &mut self.unescaped)
                .and_then(|()| std::str::from_utf8(&self.unescaped).map_err(|_| escape::Broken::Unicode))
        } else if raw.iter().any(|&byte| byte < b' ') {
            Err(escape::Broken::Syntax)
        } else {
            std::str::from_utf8(raw).map_err(|_| escape::Broken::Unicode)
        };
        found.map_err(|broken| broken.at(offset).into())
    }

    /// Consumes the next number; returns its characters, and whether it is an integer.
    pub(super) fn number(&mut self) -> Result<(&str, bool), Error> {
        let mut length = 0;
        loop {
            let rest = &self.window()[length..];
            let digits = rest.iter().take_while(|&&byte| is_number_byte(byte)).count();
            length += digits;
            if digits < rest.len() {
                break;
            }
            // A number cannot be the end of the document: it is inside an array or object.
            self.must_have_more()?;
        }
        let offset = self.offset();
        let (start, end) = (self.at, self.at + length);
        self.at = end;
        let text = std::str::from_utf8(&self.buffer[start..end]).unwrap_or_default();
        match number_kind(text.as_bytes()) {
            Some(is_integer) => Ok((text, is_integer)),
            None => Err(Rejection::Syntax { offset, expected: "a number" }.into()),
        }
    }
}

/// Returns a word of which the lowest bit that is set is in the first byte of `word` that is a quote, a backslash, a
/// control character or not ASCII; 0 if there is none.
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    /// Marks bytes below `limit`, which is at most 128. A borrow spoils only bytes above one that is marked.
    const fn below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(ONES * limit) & !word & HIGH
    }
    let (quotes, escapes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    below(word, 0x20) | below(quotes, 1) | below(escapes, 1) | word & HIGH
}

const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Returns true if `text` is an integer; `None` if it is not a JSON number.
fn number_kind(text: &[u8]) -> Option<bool> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = split_digits(text)?;
    if whole.len() > 1 && whole[0] == b'0' {
        return None;
    }
    let (rest, has_fraction) = match rest.strip_prefix(b".") {
        Some(fraction) => (split_digits(fraction)?.1, true),
        None => (rest, false),
    };
    let [b'e' | b'E', exponent @ ..] = rest else {
        return rest.is_empty().then_some(!has_fraction);
    };
    let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
    let (_, rest) = split_digits(exponent)?;
    rest.is_empty().then_some(false)
}

/// Splits off the leading digits, at least one.
fn split_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| text.split_at(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_first_special_byte_is_found(word: [u8; 8], plain: [bool; 8]) {
            let mut word = word;
            for (byte, plain) in word.iter_mut().zip(plain) {
                *byte = if plain { b'a' + *byte % 26 } else { *byte };
            }
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..);
            let found = special_bytes(u64::from_le_bytes(word)).trailing_zeros() as usize / 8;
            proptest::prop_assert_eq!(found, word.iter().position(special).unwrap_or(8));
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        for integer in ["0", "-0", "7", "-12", "12345678901234567890123"] {
            assert_eq!(number_kind(integer.as_bytes()), Some(true), "{integer}");
        }
        for other in ["0.5", "-1.0", "1e3", "1E+3", "1.5e-3"] {
            assert_eq!(number_kind(other.as_bytes()), Some(false), "{other}");
        }
        for wrong in ["", "-", "01", "+1", ".5", "1.", "1e", "1e+", "1-2", "--1", "1.e3"] {
            assert_eq!(number_kind(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
