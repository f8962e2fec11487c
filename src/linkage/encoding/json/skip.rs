//! Skips unused values of any length and checks that they are JSON. Uses a few bytes of memory.

use std::io::Read;

use super::super::{Error, Rejection};
use super::escape::{self, Broken};
use super::tokens::{DEPTH_MAX, Tokens};

impl<R: Read> Tokens<R> {
    /// Consumes the next value.
    pub(super) fn skip_value(&mut self) -> Result<(), Error> {
        let mut closes = Vec::new();
        loop {
            if let Some(close) = self.enter_or_skip()? {
                let empty = !self.item(&mut true, close)?;
                if !empty {
                    self.descend(&mut closes, close)?;
                    continue;
                }
            }
            if !self.next_sibling(&mut closes)? {
                return Ok(());
            }
        }
    }

    /// Consumes a scalar value, or the opening bracket of an array or object, whose closing bracket it returns.
    fn enter_or_skip(&mut self) -> Result<Option<u8>, Error> {
        match self.peek()? {
            b'{' => {
                self.advance(1);
                Ok(Some(b'}'))
            }
            b'[' => {
                self.advance(1);
                Ok(Some(b']'))
            }
            b'"' => self.skip_text().map(|()| None),
            b'-' | b'0'..=b'9' => self.number().map(|_| None),
            b't' => self.skip_word(b"true"),
            b'f' => self.skip_word(b"false"),
            b'n' => self.skip_word(b"null"),
            _ => self.expected("a value"),
        }
    }

    fn descend(&mut self, closes: &mut Vec<u8>, close: u8) -> Result<(), Error> {
        if closes.len() == DEPTH_MAX {
            return Err(Rejection::TooDeep { offset: self.offset(), depth_max: DEPTH_MAX }.into());
        }
        closes.push(close);
        self.skip_key(close)
    }

    /// Closes the arrays and objects that end after a value; returns true if another value follows.
    fn next_sibling(&mut self, closes: &mut Vec<u8>) -> Result<bool, Error> {
        while let Some(&close) = closes.last() {
            if self.item(&mut false, close)? {
                self.skip_key(close)?;
                return Ok(true);
            }
            closes.pop();
        }
        Ok(false)
    }

    fn skip_key(&mut self, close: u8) -> Result<(), Error> {
        if close == b'}' { self.key(|_| ()) } else { Ok(()) }
    }

    fn skip_word(&mut self, word: &'static [u8]) -> Result<Option<u8>, Error> {
        for &byte in word {
            if self.window().is_empty() {
                self.must_have_more()?;
            }
            if self.window()[0] != byte {
                return self.expected("a value");
            }
            self.advance(1);
        }
        Ok(None)
    }

    fn skip_text(&mut self) -> Result<(), Error> {
        self.advance(1);
        loop {
            let window = self.window();
            let stop = memchr::memchr2(b'"', b'\\', window);
            let plain = &window[..stop.unwrap_or(window.len())];
            let consumed = self.plain_length(plain, stop.is_none())?;
            let at_stop = stop.map(|stop| window[stop]);
            self.advance(consumed);
            match at_stop {
                Some(b'"') => {
                    self.advance(1);
                    return Ok(());
                }
                Some(_) => self.skip_escape()?,
                None => self.must_have_more()?,
            }
        }
    }

    /// Returns the length of the whole characters in `plain`: all of it, unless the end of the window cuts one.
    ///
    /// An error has the position of the faulty byte, so that it does not depend on the chunks in which the document
    /// arrived.
    fn plain_length(&self, plain: &[u8], cut: bool) -> Result<usize, Error> {
        let control = plain.iter().position(|&byte| byte < b' ');
        let broken = |broken: Broken, at: usize| Err(broken.at(self.offset() + at as u64).into());
        match (std::str::from_utf8(&plain[..control.unwrap_or(plain.len())]), control) {
            (Ok(text), None) => Ok(text.len()),
            (Ok(text), Some(_)) => broken(Broken::Syntax, text.len()),
            (Err(error), None) if cut && error.error_len().is_none() => Ok(error.valid_up_to()),
            (Err(error), _) => broken(Broken::Unicode, error.valid_up_to()),
        }
    }

    fn skip_escape(&mut self) -> Result<(), Error> {
        while self.window().len() < escape::ESCAPE_BYTES_MAX && self.more()? {}
        let (_, length) = escape::first(self.window()).map_err(|broken| broken.at(self.offset()))?;
        self.advance(length);
        Ok(())
    }
}
