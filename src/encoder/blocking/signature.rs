//! Signatures. All records of a block share one.

use std::ops::Range;

use super::error::Error;
use super::key::Writer;
use super::metaphone;
use crate::python::numbers;

/// A part of a signature, made of the value of one column.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The whole value.
    Value { column: usize },
    /// Characters of the value.
    Characters { column: usize, positions: Vec<Position> },
    /// The Double Metaphone codes of the value.
    Metaphone { column: usize },
}

/// Characters of a value: one, or a range. Negative positions count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    At(i64),
    Between(i64, i64),
    To(i64),
    From(i64),
}

impl Position {
    /// Reads a position as text: `3`, `2:5`, `:4`, `1:`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = numbers::int(text).and_then(|number| i64::try_from(number).ok());
            number.ok_or_else(|| format!("{text:?} is not a position"))
        };
        let Some((start, end)) = text.split_once(':') else { return number(text).map(Self::At) };
        match (start, end) {
            ("", "") => Err("a range needs a start or an end".to_owned()),
            ("", end) => number(end).map(Self::To),
            (start, "") => number(start).map(Self::From),
            (start, end) => {
                let (start, end) = (number(start)?, number(end)?);
                if start < end {
                    Ok(Self::Between(start, end))
                } else {
                    Err("a range must start before its end".to_owned())
                }
            }
        }
    }

    /// Returns the range of characters in a non-empty text of `length` characters; `None` where Python raises an error.
    #[inline]
    fn of(self, length: usize) -> Option<Range<usize>> {
        let length = length as i64;
        let clip = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
        match self {
            Self::At(at) => {
                let at = at.min(length - 1);
                let at = usize::try_from(if at < 0 { at + length } else { at }).ok()?;
                Some(at..at + 1)
            }
            Self::Between(start, end) => Some(clip(start.min(length - 1))..clip(end.min(length))),
            Self::To(end) => Some(0..clip(end.min(length))),
            Self::From(start) => Some(clip(start.min(length))..length as usize),
        }
    }
}

impl Part {
    /// The column that the part is made of.
    pub(super) const fn column(&self) -> usize {
        match self {
            Self::Value { column } | Self::Characters { column, .. } | Self::Metaphone { column } => *column,
        }
    }

    /// Returns whether there is a part for `value`.
    pub(super) const fn exists(&self, value: &str) -> bool {
        !matches!(self, Self::Characters { .. }) || !value.is_empty()
    }

    /// Appends the part for `value`, which exists. Returns `None` if the value has no character at one of the positions.
    pub(super) fn write(&self, value: &str, signature: &mut Writer) -> Option<()> {
        match self {
            Self::Value { .. } => signature.push(value.as_bytes()),
            Self::Metaphone { .. } => {
                metaphone::codes(value, |code| signature.push(code.as_bytes()));
            }
            Self::Characters { positions, .. } if value.is_ascii() => {
                for position in positions {
                    match value.as_bytes().get(position.of(value.len())?).unwrap_or_default() {
                        [character] => signature.push_byte(*character),
                        characters => signature.push(characters),
                    }
                }
            }
            Self::Characters { positions, .. } => {
                let length = value.chars().count();
                for position in positions {
                    let Range { start, end } = position.of(length)?;
                    for character in value.chars().skip(start).take(end.saturating_sub(start)) {
                        signature.push(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
        }
        Some(())
    }
}

/// Reads the record number in a column.
pub(super) fn record_number(row: &[&str], column: usize) -> Result<u64, Error> {
    let value = row.get(column).ok_or_else(|| Error::Row(format!("there is no column {}", column + 1)))?;
    let number = numbers::int(value).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| {
        Error::Row(format!("column {}: the record number must be a whole number from 0", column + 1))
    })
}
