//! CSV in the dialect of Python's `csv` module: one character separates fields, fields may be quoted with `"`, and
//! a quote inside a quoted field is doubled.
//!
//! Some input that Python accepts is almost certainly a mistake and is rejected here: a quote that is never closed,
//! a NUL character, and bytes that are invalid in the charset.

mod batch;
mod error;
mod parser;
mod source;

pub use self::batch::{Batch, Row};
pub use self::error::Error;
pub use self::source::Charset;

use std::io::Read;

use zeroize::Zeroizing;

use self::parser::Parser;
use self::source::Source;

/// The format of a file.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The character between columns.
    pub delimiter: u8,
    /// The charset of the text.
    pub charset: Charset,
    /// The longest field, in characters.
    pub field_max: usize,
}

/// Reads rows.
pub struct Reader<R> {
    source: Source<R>,
    parser: Parser,
    /// Decoded text, and the position up to which it is parsed.
    piece: Zeroizing<String>,
    at: usize,
    is_done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the rows of `file`.
    pub fn new(file: R, dialect: Dialect) -> Self {
        Self {
            source: Source::new(file, dialect.charset),
            parser: Parser::new(dialect.delimiter, dialect.field_max),
            piece: Zeroizing::default(),
            at: 0,
            is_done: false,
        }
    }

    /// Fills an empty batch with up to `rows` rows. The batch stays empty at the end of the file.
    ///
    /// # Errors
    /// [`Error`]; the batch then holds the rows before the error.
    pub fn fill(&mut self, batch: &mut Batch, rows: usize) -> Result<(), Error> {
        // A batch ends between two rows, even if the text of one row alone would fill it.
        while !(self.is_done || self.parser.is_between_rows() && batch.is_full(rows)) {
            if self.at == self.piece.len() {
                self.at = 0;
                match self.source.next(&mut self.piece) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.is_done = true;
                        self.parser.finish(batch)?;
                    }
                    Err(source::Error::Read(error)) => return Err(error.into()),
                    Err(source::Error::Broken(rule)) => return Err(self.parser.broken(rule)),
                }
            }
            self.at += self.parser.parse(&self.piece[self.at..], batch, rows)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
