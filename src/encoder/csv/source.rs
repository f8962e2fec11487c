//! Decodes a file to text, chunk by chunk.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use memchr::memchr;

/// The number of bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A charset, parsed from its web (WHATWG) label. A byte order mark in the file overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Default for Charset {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl std::str::FromStr for Charset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let encoding = Encoding::for_label_no_replacement(name.as_bytes());
        encoding
            .map(Self)
            .ok_or_else(|| format!("{name} is not a web charset such as utf-8, windows-1252 or utf-16le"))
    }
}

pub(super) enum Error {
    Read(io::Error),
    Broken(String),
}

pub(super) struct Source<R> {
    file: R,
    decoder: Decoder,
    bytes: Vec<u8>,
    /// The bytes that were read but not decoded yet.
    filled: std::ops::Range<usize>,
    is_at_end: bool,
    /// The error that the next call returns: the rule that the file breaks after the text that was already returned.
    broken: Option<String>,
}

impl<R: Read> Source<R> {
    pub(super) fn new(file: R, charset: Charset) -> Self {
        Self {
            file,
            decoder: charset.0.new_decoder(),
            bytes: vec![0; PIECE_BYTES],
            filled: 0..0,
            is_at_end: false,
            broken: None,
        }
    }

    /// Decodes the next chunk into `text`. Returns false at the end.
    pub(super) fn next(&mut self, text: &mut String) -> Result<bool, Error> {
        text.clear();
        if let Some(rule) = self.broken.take() {
            return Err(Error::Broken(rule));
        }
        while text.is_empty() {
            if self.filled.is_empty() && self.is_at_end {
                return Ok(false);
            }
            if self.filled.is_empty() {
                self.read().map_err(Error::Read)?;
            }
            self.decode(text);
            if text.is_empty()
                && let Some(rule) = self.broken.take()
            {
                return Err(Error::Broken(rule));
            }
        }
        if let Some(nul) = memchr(0, text.as_bytes()) {
            text.truncate(nul);
            self.broken = Some(
                "the file has a NUL byte here: it is not CSV, or in another charset (--charset)".to_owned(),
            );
            return if nul == 0 { self.next(text) } else { Ok(true) };
        }
        Ok(true)
    }

    fn read(&mut self) -> io::Result<()> {
        let read = loop {
            match self.file.read(&mut self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.is_at_end = read == 0;
        self.filled = 0..read;
        Ok(())
    }

    fn decode(&mut self, text: &mut String) {
        let bytes = &self.bytes[self.filled.clone()];
        let room = self.decoder.max_utf8_buffer_length_without_replacement(bytes.len());
        text.reserve(room.unwrap_or(PIECE_BYTES));
        let (result, read) = self.decoder.decode_to_string_without_replacement(bytes, text, self.is_at_end);
        self.filled.start += read;
        if let DecoderResult::Malformed(..) = result {
            let name = self.decoder.encoding().name();
            self.broken = Some(format!(
                "the file has bytes here that are not {name} (--charset names another charset)"
            ));
        }
    }
}

impl<R> Drop for Source<R> {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.bytes);
    }
}
