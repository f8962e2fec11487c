//! The `blocks` object: for each record that is in a block, the names of its blocks.

use std::io::{Read, Write};

use roaring::RoaringBitmap;

use super::super::entries::Entries;
use super::super::{Error, Rejection};
use super::tokens::Tokens;

/// The values that may name a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Strings only.
    Texts,
    /// Strings and integers; an integer stands for its decimal text.
    Integers,
    /// Strings and numbers of any kind; a number stands for its text in the document.
    Numbers,
}

impl Names {
    const fn expected(self) -> &'static str {
        match self {
            Self::Texts => "a string",
            Self::Integers => "a string or an integer",
            Self::Numbers => "a string or a number",
        }
    }
}

/// Reads the next block name, and adds to `entries` that `record` is in this block.
pub(super) fn name<R: Read, W: Write>(
    tokens: &mut Tokens<R>,
    names: Names,
    record: u32,
    entries: &mut Entries<W>,
) -> Result<(), Error> {
    let refused = Rejection::BlockName { record, expected: names.expected() };
    match (tokens.peek()?, names) {
        (b'"', _) => entries.push(record, tokens.text()?.as_bytes()),
        (b'-' | b'0'..=b'9', Names::Integers | Names::Numbers) => {
            let (number, is_integer) = tokens.number()?;
            if names == Names::Integers && !is_integer {
                return Err(refused.into());
            }
            // `-0` is the integer zero, which has one decimal text.
            entries.push(record, if number == "-0" { b"0" } else { number.as_bytes() })
        }
        _ => {
            tokens.skip_value()?;
            Err(refused.into())
        }
    }
}

/// The set of records that have had a key, which reveals duplicates. Compressed, since keys come in any order.
pub(super) struct Keyed {
    records: RoaringBitmap,
    /// The exclusive upper bound of keys.
    bound: u32,
}

impl Keyed {
    /// Returns an empty set; each key must be less than `bound`.
    pub(super) fn below(bound: u32) -> Self {
        Self { records: RoaringBitmap::new(), bound }
    }

    /// Checks that all keys are less than `records`, now that their number is known.
    pub(super) fn check(&self, records: u32) -> Result<(), Rejection> {
        match self.records.max() {
            Some(record) if record >= records => Err(out_of_range(record.into(), records)),
            _ => Ok(()),
        }
    }

    fn insert(&mut self, record: u64) -> Result<u32, Rejection> {
        let record = u32::try_from(record)
            .ok()
            .filter(|&record| record < self.bound)
            .ok_or_else(|| out_of_range(record, self.bound))?;
        if self.records.insert(record) { Ok(record) } else { Err(Rejection::BlockKeyTwice { record }) }
    }
}

const fn out_of_range(record: u64, records: u32) -> Rejection {
    Rejection::BlockKeyRange { record, last: records.saturating_sub(1) }
}

/// The interpretation of a key of `blocks`.
pub(super) enum Key<K> {
    Record(u64),
    Other(K),
}

impl<K> Key<K> {
    /// Returns the record number whose plain decimal text `key` is, or the result of `other`.
    pub(super) fn read(key: &str, other: impl FnOnce(&str) -> K) -> Self {
        let plain =
            key.bytes().all(|byte| byte.is_ascii_digit()) && (key.len() == 1 || !key.starts_with('0'));
        match key.parse() {
            Ok(record) if plain => Self::Record(record),
            _ => Self::Other(other(key)),
        }
    }
}

/// Reads the array of block names that is the value of the key `record`.
pub(super) fn record<R: Read, W: Write>(
    tokens: &mut Tokens<R>,
    names: Names,
    record: u64,
    keyed: &mut Keyed,
    entries: &mut Entries<W>,
) -> Result<(), Error> {
    let record = keyed.insert(record)?;
    if tokens.peek()? != b'[' {
        return Err(Rejection::Record { record, expected: "an array of block names" }.into());
    }
    tokens.advance(1);
    let mut first = true;
    while tokens.item(&mut first, b']')? {
        name(tokens, names, record, entries)?;
        while let Some(name) = tokens.following_text() {
            entries.push(record, name)?;
        }
    }
    Ok(())
}
