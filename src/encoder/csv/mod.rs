//! CSV in the dialect of Python's `csv` module: separated by one character, quoted with `"`, with quotes doubled
//! inside.
//!
//! Input that Python accepts but that must be a mistake is an error here: a quote that is never closed, a NUL
//! character, and bytes that are not text.

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

/// The form of a file.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The character between columns.
    pub delimiter: u8,
    /// The charset of its text.
    pub charset: Charset,
    /// The longest field, in characters.
    pub field_max: usize,
}

/// Reads rows.
pub struct Reader<R> {
    source: Source<R>,
    parser: Parser,
    /// The text that was decoded and not parsed yet, from this position on.
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

    /// Fills an empty batch with up to `rows` rows; with none at the end of the file.
    ///
    /// # Errors
    /// [`Error`], once the rows before it were returned.
    pub fn fill(&mut self, batch: &mut Batch, rows: usize) -> Result<(), Error> {
        while !self.is_done && !batch.is_full(rows) {
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
