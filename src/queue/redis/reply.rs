//! Reads the answers of scripts.

use redis::Value;

use crate::queue::Error;
use crate::runtime::clock::Timestamp;

/// The answer of a script that took effect.
#[derive(Debug)]
pub(super) struct Reply {
    /// The time at which the script ran, by the clock of the queue.
    pub(super) now: Timestamp,
    pub(super) result: Value,
}

fn unreadable() -> Error {
    Error::damaged("a script of the queue gave an answer of another form")
}

/// The members of a list, in order.
pub(super) struct List<'a>(std::slice::Iter<'a, Value>);

impl<'a> List<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, Error> {
        match value {
            Value::Array(members) => Ok(Self(members.iter())),
            _ => Err(unreadable()),
        }
    }

    pub(super) fn value(&mut self) -> Result<&'a Value, Error> {
        self.0.next().ok_or_else(unreadable)
    }

    pub(super) fn int(&mut self) -> Result<i64, Error> {
        int(self.value()?)
    }

    pub(super) fn number(&mut self) -> Result<u64, Error> {
        u64::try_from(self.int()?).map_err(|_| unreadable())
    }

    pub(super) fn small<T: TryFrom<i64>>(&mut self) -> Result<T, Error> {
        T::try_from(self.int()?).map_err(|_| unreadable())
    }

    pub(super) fn moment(&mut self) -> Result<Timestamp, Error> {
        self.int().map(Timestamp::from_micros)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| unreadable())
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        match self.value()? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.as_bytes()),
            _ => Err(unreadable()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a Value;

    fn next(&mut self) -> Option<&'a Value> {
        self.0.next()
    }
}

/// Reads a whole number.
pub(super) fn int(value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::BulkString(text) => {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(unreadable)
        }
        _ => Err(unreadable()),
    }
}
