//! Signatures, which all records of a block share.

use super::error::Error;
use crate::encoder::python::numbers;

/// A part of a signature, made of the value of one column.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The value.
    Value { column: usize },
    /// Characters of it.
    Characters { column: usize, positions: Vec<Position> },
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

    /// The characters of `text`, which is not empty. `None` where Python finds no character.
    fn take(self, text: &[char]) -> Option<&[char]> {
        let length = text.len() as i64;
        let clip = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
        let slice = |start: usize, end: usize| Some(text.get(start..end).unwrap_or_default());
        match self {
            Self::At(at) => {
                let at = at.min(length - 1);
                let at = usize::try_from(if at < 0 { at + length } else { at }).ok()?;
                text.get(at..=at)
            }
            Self::Between(start, end) => slice(clip(start.min(length - 1)), clip(end.min(length))),
            Self::To(end) => slice(0, clip(end.min(length))),
            Self::From(start) => slice(clip(start.min(length)), text.len()),
        }
    }
}

impl Part {
    /// The column that it is made of.
    pub(super) const fn column(&self) -> usize {
        match self {
            Self::Value { column } | Self::Characters { column, .. } => *column,
        }
    }

    /// Returns the part of a record; the inner `None` if the record has none.
    #[expect(clippy::option_option, reason = "the value is missing, or has no such character")]
    pub(super) fn of(&self, value: &str) -> Option<Option<String>> {
        match self {
            Self::Value { .. } => Some(Some(value.to_owned())),
            Self::Characters { .. } if value.is_empty() => Some(None),
            Self::Characters { positions, .. } => {
                let characters: Vec<char> = value.chars().collect();
                let taken: Option<Vec<&[char]>> =
                    positions.iter().map(|position| position.take(&characters)).collect();
                taken.map(|taken| Some(taken.concat().into_iter().collect()))
            }
        }
    }
}

/// The number of a record that a column holds.
pub(super) fn record_number(row: &[&str], column: usize) -> Result<u64, Error> {
    let value = row.get(column).ok_or_else(|| Error::Row(format!("there is no column {}", column + 1)))?;
    let number = numbers::int(value).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| {
        Error::Row(format!("column {}: the number of a record must be a whole number", column + 1))
    })
}
