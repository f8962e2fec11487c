//! Splits text into rows and fields, chunk by chunk.

use memchr::memchr3;

use super::batch::Batch;
use super::error::Error;
use crate::table_hash::short;

/// The maximum number of fields in a row: without line ends, a whole file would be one row in memory.
const FIELDS_MAX: usize = 65_536;

/// The position of the parser in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    RowStart,
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field, which either ends the field or is the first of a doubled quote.
    QuoteSeen,
}

pub(super) struct Parser {
    state: State,
    delimiter: u8,
    field_max: usize,
    /// The current line, from 1.
    line: u64,
    /// The line in which the row began.
    row_line: u64,
    /// The line of the last opening quote.
    quote_line: u64,
    /// Set after a carriage return: a line feed that follows belongs to the same line end.
    after_return: bool,
}

impl Parser {
    pub(super) const fn new(delimiter: u8, field_max: usize) -> Self {
        Self {
            state: State::RowStart,
            delimiter,
            field_max,
            line: 1,
            row_line: 1,
            quote_line: 1,
            after_return: false,
        }
    }

    /// Parses `piece` until the batch is full, and returns the number of bytes that were used.
    pub(super) fn parse(&mut self, piece: &str, batch: &mut Batch, rows: usize) -> Result<usize, Error> {
        let bytes = piece.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if self.after_return {
                self.after_return = false;
                if bytes[at] == b'\n' {
                    at += 1;
                    continue;
                }
            }
            if self.state == State::RowStart {
                at += self.plain_rows(&piece[at..], batch, rows);
                if batch.is_full(rows) || at == bytes.len() {
                    break;
                }
            }
            at += match self.state {
                State::RowStart | State::FieldStart => self.start(bytes[at], batch)?,
                State::Plain => self.plain(&piece[at..], batch)?,
                State::Quoted => self.quoted(&piece[at..], batch)?,
                State::QuoteSeen => self.after_quote(bytes[at], batch)?,
            };
        }
        Ok(at)
    }

    /// Returns true if no row has begun.
    pub(super) fn is_between_rows(&self) -> bool {
        self.state == State::RowStart
    }

    /// Ends the last row at the end of the text.
    pub(super) fn finish(&mut self, batch: &mut Batch) -> Result<(), Error> {
        match self.state {
            State::RowStart => Ok(()),
            State::Quoted => {
                Err(self.broken(format!("the quote that opens in line {} is never closed", self.quote_line)))
            }
            State::FieldStart | State::Plain | State::QuoteSeen => {
                self.end_field(batch)?;
                self.end_row(batch);
                Ok(())
            }
        }
    }

    /// Returns the error of the current row.
    pub(super) fn broken(&self, rule: String) -> Error {
        Error::Broken { line: self.row_line, rule }
    }

    /// Parses complete rows whose fields are substrings of the text. Stops before the first row of another kind. Returns
    /// the number of bytes that were used.
    fn plain_rows(&mut self, piece: &str, batch: &mut Batch, rows: usize) -> usize {
        let mut marks = Marks::new(piece.as_bytes(), self.delimiter);
        let mut used = 0;
        while !batch.is_full(rows) {
            let Some(end) = self.plain_row(piece.as_bytes(), used, &mut marks, batch) else {
                batch.drop_fields();
                break;
            };
            used = end;
            self.line += 1;
            self.end_row(batch);
        }
        batch.push_rows(&piece[..used]);
        used
    }

    /// Parses the row that begins at `at`, before the next of `marks`. Returns the position after it; `None` if the row is
    /// empty, incomplete or too complex.
    fn plain_row(
        &self,
        bytes: &[u8],
        mut at: usize,
        marks: &mut Marks<'_>,
        batch: &mut Batch,
    ) -> Option<usize> {
        if matches!(bytes.get(at), Some(b'\n' | b'\r')) {
            return None;
        }
        let mut fields = 0;
        loop {
            let (text, end) = if bytes.get(at) == Some(&b'"') {
                let end = at + end_of_quoted(&bytes[at..])?;
                marks.go_to(end);
                (at + 1..end - 1, marks.next().filter(|mark| *mark == end)?)
            } else {
                let end = marks.next()?;
                (at..end, end)
            };
            fields += 1;
            if text.len() > self.field_max || fields > FIELDS_MAX {
                return None;
            }
            batch.push_field(text.start, text.end);
            at = end + 1;
            match bytes[end] {
                b'\n' => return Some(at),
                b'\r' => {
                    // A line feed after a carriage return belongs to the same line end.
                    at += usize::from(*bytes.get(at)? == b'\n');
                    marks.go_to(at);
                    return Some(at);
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, byte: u8, batch: &mut Batch) -> Result<usize, Error> {
        match byte {
            b'\n' | b'\r' => {
                // An empty line is a row without fields.
                if self.state == State::FieldStart {
                    self.end_field(batch)?;
                }
                self.end_line(byte, batch);
            }
            b'"' => {
                self.state = State::Quoted;
                self.quote_line = self.line;
            }
            _ => return self.delimiter_or_plain(byte, batch),
        }
        Ok(1)
    }

    fn plain(&mut self, piece: &str, batch: &mut Batch) -> Result<usize, Error> {
        let end = memchr3(self.delimiter, b'\n', b'\r', piece.as_bytes());
        self.push(&piece[..end.unwrap_or(piece.len())], batch)?;
        let Some(end) = end else { return Ok(piece.len()) };
        self.end_field(batch)?;
        match piece.as_bytes()[end] {
            byte @ (b'\n' | b'\r') => self.end_line(byte, batch),
            _ => self.state = State::FieldStart,
        }
        Ok(end + 1)
    }

    fn quoted(&mut self, piece: &str, batch: &mut Batch) -> Result<usize, Error> {
        let Some(end) = memchr3(b'"', b'\n', b'\r', piece.as_bytes()) else {
            return self.push(piece, batch).map(|()| piece.len());
        };
        self.push(&piece[..end], batch)?;
        match piece.as_bytes()[end] {
            b'"' => self.state = State::QuoteSeen,
            byte => {
                // Line ends of all kinds become line feeds, as in a file that Python opens as text.
                batch.push_text("\n");
                self.after_return = byte == b'\r';
                self.line += 1;
            }
        }
        Ok(end + 1)
    }

    fn after_quote(&mut self, byte: u8, batch: &mut Batch) -> Result<usize, Error> {
        match byte {
            b'"' => {
                batch.push_text("\"");
                self.state = State::Quoted;
            }
            b'\n' | b'\r' => {
                self.end_field(batch)?;
                self.end_line(byte, batch);
            }
            _ => return self.delimiter_or_plain(byte, batch),
        }
        Ok(1)
    }

    /// Ends the field at a delimiter. Any other byte is left for [`plain`](Self::plain).
    fn delimiter_or_plain(&mut self, byte: u8, batch: &mut Batch) -> Result<usize, Error> {
        if byte != self.delimiter {
            self.state = State::Plain;
            return Ok(0);
        }
        self.end_field(batch)?;
        self.state = State::FieldStart;
        Ok(1)
    }

    fn push(&self, text: &str, batch: &mut Batch) -> Result<(), Error> {
        batch.push_text(text);
        // No character takes more than four bytes.
        if batch.open_field().len() > self.field_max.saturating_mul(4) {
            Err(self.too_long())
        } else {
            Ok(())
        }
    }

    fn end_field(&self, batch: &mut Batch) -> Result<(), Error> {
        let field = batch.open_field();
        if field.len() > self.field_max && field.chars().count() > self.field_max {
            return Err(self.too_long());
        }
        batch.end_field();
        if batch.open_row_fields() > FIELDS_MAX {
            return Err(
                self.broken(format!("the row has more than {FIELDS_MAX} fields; is a line end missing?"))
            );
        }
        Ok(())
    }

    fn too_long(&self) -> Error {
        self.broken(format!(
            "a field has more than {} characters; is a quote missing? (--field-max allows more)",
            self.field_max
        ))
    }

    fn end_line(&mut self, byte: u8, batch: &mut Batch) {
        self.after_return = byte == b'\r';
        self.line += 1;
        self.end_row(batch);
    }

    fn end_row(&mut self, batch: &mut Batch) {
        batch.end_row(self.row_line);
        self.row_line = self.line;
        self.state = State::RowStart;
    }
}

/// The positions of delimiters and line ends in a text. Eight bytes are compared at once.
struct Marks<'a> {
    bytes: &'a [u8],
    /// The delimiter in each byte.
    delimiters: u64,
    /// The position of the current eight bytes.
    start: usize,
    /// The highest bit of each byte that is a delimiter or a line end and comes next.
    here: u64,
}

impl<'a> Marks<'a> {
    fn new(bytes: &'a [u8], delimiter: u8) -> Self {
        let mut marks = Self { bytes, delimiters: EACH * u64::from(delimiter), start: 0, here: 0 };
        marks.go_to(0);
        marks
    }

    /// Makes the first position from `at` on the next one.
    fn go_to(&mut self, at: usize) {
        self.start = at - at % 8;
        self.here = self.compare().unwrap_or_default() & u64::MAX << (at % 8 * 8);
    }

    /// Returns all of the current eight bytes that are one; `None` at the end of the text.
    fn compare(&self) -> Option<u64> {
        let rest = self.bytes.get(self.start..).filter(|rest| !rest.is_empty())?;
        let word = rest.first_chunk().map_or_else(|| short(rest), |word| u64::from_le_bytes(*word));
        // The highest bit of a byte of the sum is set if the other bits of the byte are not zero.
        let differs = |bytes: u64| (((word ^ bytes) & LOW) + LOW) | (word ^ bytes);
        let plain =
            differs(self.delimiters) & differs(EACH * u64::from(b'\n')) & differs(EACH * u64::from(b'\r'));
        Some(!plain & !LOW)
    }
}

impl Iterator for Marks<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.here == 0 {
            self.start += 8;
            self.here = self.compare()?;
        }
        let at = self.start + self.here.trailing_zeros() as usize / 8;
        self.here &= self.here - 1;
        Some(at)
    }
}

/// The lowest bit of each byte.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
/// The bits of each byte but the highest.
const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);

/// Returns the position after a quoted field; `None` if quotes or line ends are inside.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let end = 1 + memchr3(b'"', b'\n', b'\r', &bytes[1..])?;
    (bytes[end] == b'"').then_some(end + 1)
}
