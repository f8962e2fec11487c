//! Reads the objects that an upload may refer to.

use std::io::{Read, Write};

use super::super::entries::{Entries, Version};
use super::super::rows::{Fit, Rows};
use super::super::{Error, Rejection, Summary};
use super::blocks::{self, Keyed, Names};
use super::tokens::Tokens;
use super::upload;

/// Reads an object `{"clks": [..]}` for which `records` records of `encoding_bytes` bytes were declared (both at
/// least 1). Each encoding is truncated or padded with zero bytes to that length. Records beyond the declared number,
/// and other members, must be JSON and are skipped.
///
/// # Errors
/// [`Error::Rejected`] with the fault of the object; otherwise the error of the source or the sink.
pub fn encodings(
    source: impl Read,
    records: u32,
    encoding_bytes: u32,
    matrix: impl Write,
) -> Result<Summary, Error> {
    let mut rows = Rows::new(matrix, Fit::PadOrCut(encoding_bytes));
    only_member(source, "clks", b'[', |tokens| {
        let mut first = true;
        while tokens.item(&mut first, b']')? {
            if rows.records() < records {
                upload::encoding(tokens, &mut rows)?;
            } else {
                tokens.skip_value()?;
            }
        }
        Ok(())
    })?;
    if rows.records() < records {
        return Err(Rejection::TooFewRecords { expected: records, found: rows.records() }.into());
    }
    rows.flush()?;
    Ok(Summary { records, encoding_bytes, has_blocks: false, entries: 0 })
}

/// Reads an object `{"blocks": {"0": [..], ..}}` for `records` records: names are texts or numbers, and a record
/// without a key is in no block. Writes block entries of version 1 and returns their number.
///
/// # Errors
/// [`Error::Rejected`] with the fault of the object; otherwise the error of the source or the sink.
pub fn blocks(source: impl Read, records: u32, entries: impl Write) -> Result<u64, Error> {
    let mut entries = Entries::new(Version::Plain, entries);
    let mut keyed = Keyed::below(records);
    only_member(source, "blocks", b'{', |tokens| {
        let mut first = true;
        while tokens.item(&mut first, b'}')? {
            let offset = tokens.offset();
            match tokens.key(|key| blocks::Key::read(key, |_| ()))? {
                blocks::Key::Record(record) => {
                    blocks::record(tokens, Names::Numbers, record, &mut keyed, &mut entries)?;
                }
                blocks::Key::Other(()) => return Err(Rejection::BlockKey { offset }.into()),
            }
        }
        Ok(())
    })?;
    entries.flush()?;
    Ok(entries.count())
}

/// Reads a document and skips all members except `member`. Its value opens with `open`, and `inside` reads the rest of
/// the value.
fn only_member<R: Read>(
    source: R,
    member: &'static str,
    open: u8,
    mut inside: impl FnMut(&mut Tokens<R>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut tokens = Tokens::new(source);
    tokens.begin()?;
    tokens.take(b'{', "an object")?;
    let (mut first, mut found) = (true, false);
    while tokens.item(&mut first, b'}')? {
        if !tokens.key(|key| key == member)? {
            tokens.skip_value()?;
            continue;
        }
        if std::mem::replace(&mut found, true) {
            return Err(Rejection::MemberTwice { member }.into());
        }
        if tokens.peek()? != open {
            let expected = if open == b'[' { "an array" } else { "an object" };
            return Err(Rejection::WrongType { member, offset: tokens.offset(), expected }.into());
        }
        tokens.advance(1);
        inside(&mut tokens)?;
    }
    tokens.finish()?;
    if found { Ok(()) } else { Err(Rejection::Absent { expected: member }.into()) }
}
