//! The formats of the values in the store.
//!
//! sled uses much memory for each key, so many jobs share a *segment*. In a segment each job has a *slot*. Jobs of one
//! queue, group and priority are in one *lane*. A key is a tag and a number (big-endian, so that keys sort by age).
//!
//! ```text
//! 'H' segment   Head   lanes of the jobs, and fingerprints of their names     written once
//! 'B' segment   body   names and payloads, see `Body`                         written once
//! 'S' segment   Marks  finished jobs, attempts, delays; absent at first       rewritten
//! 'D' sequence  Dead   a dead letter
//! 'P' queue     -      the queue is paused
//! 'M' "format"  u32    version of this layout
//! 'M' "bound"   u64    no segment or sequence has a number beyond it
//! 'M' "applied" u64    see `super::journal`
//! ```
//!
//! Large values are stored in chunks under keys that extend their own, see `super::chunks`.
//!
//! Heads, marks and dead letters are postcard (little-endian varints, fields in order).

use std::num::NonZeroU8;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::queue::{DeadLetter, Error, Group, NewJob, QueueName};
use crate::runtime::clock::Timestamp;

/// The version of the layout.
pub(in crate::queue::sled) const FORMAT: u32 = 2;
/// The version before the commit log. Such a store equals one of this version with an empty commit log.
pub(in crate::queue::sled) const FORMAT_WITHOUT_JOURNAL: u32 = 1;
pub(in crate::queue::sled) const FORMAT_KEY: &[u8] = b"Mformat";
/// The key of the last epoch of the commit log whose commits sled has. Its value is in sled only, never in the commit
/// log.
pub(in crate::queue::sled) const APPLIED_KEY: &[u8] = b"Mapplied";
pub(in crate::queue::sled) const BOUND_KEY: &[u8] = b"Mbound";

/// The first byte of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) enum Tag {
    Head,
    Body,
    Marks,
    Dead,
    Paused,
}

impl Tag {
    pub(in crate::queue::sled) const fn byte(self) -> u8 {
        match self {
            Self::Head => b'H',
            Self::Body => b'B',
            Self::Marks => b'S',
            Self::Dead => b'D',
            Self::Paused => b'P',
        }
    }

    /// Returns the key of a numbered value.
    pub(in crate::queue::sled) fn key(self, number: u64) -> [u8; 9] {
        let mut key = [self.byte(); 9];
        key[1..].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Returns the key of a named value.
    pub(in crate::queue::sled) fn named(self, name: &str) -> Vec<u8> {
        [&[self.byte()], name.as_bytes()].concat()
    }
}

/// Returns the number in a key.
pub(in crate::queue::sled) fn number(key: &[u8]) -> Result<u64, Error> {
    key.get(1..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes).ok_or_else(damaged)
}

/// Consecutive jobs that differ only in name and payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::queue::sled) struct HeadRun {
    pub(in crate::queue::sled) count: u16,
    pub(in crate::queue::sled) queue: QueueName,
    pub(in crate::queue::sled) group: Group,
    pub(in crate::queue::sled) priority: i8,
    pub(in crate::queue::sled) attempts_max: NonZeroU8,
}

/// The head of a segment, which is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::queue::sled) struct Head {
    pub(in crate::queue::sled) enqueued: Timestamp,
    pub(in crate::queue::sled) runs: Vec<HeadRun>,
    /// The fingerprint of each job's name, in order.
    pub(in crate::queue::sled) prints: Vec<u64>,
    /// The slots of delayed jobs, each with the end of its delay, in order.
    pub(in crate::queue::sled) delays: Vec<(u16, Timestamp)>,
}

/// The states of the jobs of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::queue::sled) struct Marks {
    /// A bit for each slot, lowest first; set if the job was removed.
    pub(in crate::queue::sled) gone: Vec<u8>,
    /// The slots of jobs that were tried, each with the number of attempts begun.
    pub(in crate::queue::sled) attempts: Vec<(u16, u8)>,
    /// The slots of delayed jobs, each with the end of its delay. They replace the delays in the head.
    pub(in crate::queue::sled) delays: Vec<(u16, Timestamp)>,
}

impl Marks {
    pub(in crate::queue::sled) fn is_gone(&self, slot: u16) -> bool {
        self.gone.get(usize::from(slot / 8)).is_some_and(|byte| byte >> (slot % 8) & 1 == 1)
    }
}

/// A dead letter with all that is needed to redrive it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::queue::sled) struct Dead {
    pub(in crate::queue::sled) letter: DeadLetter,
    pub(in crate::queue::sled) priority: i8,
    pub(in crate::queue::sled) attempts_max: NonZeroU8,
    pub(in crate::queue::sled) payload: Vec<u8>,
}

pub(in crate::queue::sled) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data in memory is always encoded")
}

pub(in crate::queue::sled) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(value).map_err(|error| Error::Damaged(error.into()))
}

pub(in crate::queue::sled) fn damaged() -> Error {
    Error::damaged("a value of the queue does not have its layout")
}

/// The names and payloads of the jobs of a segment.
///
/// ```text
/// 0      u16 LE  jobs
/// 2      for each job: u32 LE end of its name, u32 LE end of its payload, counted from `data`
/// data   name, payload, name, payload, ...
/// ```
#[derive(Clone, Debug)]
pub(in crate::queue::sled) struct Body(Bytes);

impl Body {
    const COUNT_BYTES: usize = 2;
    const ENTRY_BYTES: usize = 8;

    /// Serialises the jobs in order.
    pub(in crate::queue::sled) fn of<'a>(jobs: impl ExactSizeIterator<Item = &'a NewJob> + Clone) -> Self {
        let count = jobs.len();
        let data_bytes: usize = jobs.clone().map(|job| job.job.as_str().len() + job.payload.len()).sum();
        let data = Self::COUNT_BYTES + count * Self::ENTRY_BYTES;
        let mut bytes = Vec::with_capacity(data + data_bytes);
        bytes.extend_from_slice(&u16::try_from(count).expect("a segment has few jobs").to_le_bytes());
        let mut end = 0;
        for job in jobs.clone() {
            for part in [job.job.as_str().len(), job.payload.len()] {
                end += u32::try_from(part).expect("a segment is small");
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        for job in jobs {
            bytes.extend_from_slice(job.job.as_str().as_bytes());
            bytes.extend_from_slice(&job.payload);
        }
        Self(bytes.into())
    }

    /// Returns the body in stored bytes, unchecked. [`Body::name`] and [`Body::payload`] check them.
    pub(in crate::queue::sled) fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(in crate::queue::sled) const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    pub(in crate::queue::sled) fn len(&self) -> u16 {
        self.0.first_chunk().map_or(0, |count| u16::from_le_bytes(*count))
    }

    /// Returns the name of a job.
    pub(in crate::queue::sled) fn name(&self, slot: u16) -> Result<&str, Error> {
        let (start, end, _) = self.bounds(slot).ok_or_else(damaged)?;
        self.0.get(start..end).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(damaged)
    }

    /// Returns the payload of a job. It shares the memory of the body.
    pub(in crate::queue::sled) fn payload(&self, slot: u16) -> Result<Bytes, Error> {
        let (_, start, end) = self.bounds(slot).ok_or_else(damaged)?;
        (start <= end && end <= self.0.len()).then(|| self.0.slice(start..end)).ok_or_else(damaged)
    }

    /// Returns a copy with zeros in place of the names and payloads of some slots.
    pub(in crate::queue::sled) fn without(&self, is_gone: impl Fn(u16) -> bool) -> Result<Self, Error> {
        let mut bytes = self.0.to_vec();
        for slot in (0..self.len()).filter(|slot| is_gone(*slot)) {
            let (start, _, end) = self.bounds(slot).ok_or_else(damaged)?;
            bytes.get_mut(start..end).ok_or_else(damaged)?.fill(0);
        }
        Ok(Self(bytes.into()))
    }

    /// Returns the start and the end of a job's name, and the end of its payload.
    fn bounds(&self, slot: u16) -> Option<(usize, usize, usize)> {
        let data = Self::COUNT_BYTES + usize::from(self.len()) * Self::ENTRY_BYTES;
        let entry = Self::COUNT_BYTES + usize::from(slot) * Self::ENTRY_BYTES;
        let end = |at: usize| {
            let end = self.0.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)?;
            Some(data + end as usize)
        };
        let start = if slot == 0 { data } else { end(entry - 4)? };
        (slot < self.len()).then_some(())?;
        Some((start, end(entry)?, end(entry + 4)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_payloads_come_back() {
        let jobs = [("a", ""), ("", "payload"), ("long name", "x")];
        let jobs = jobs.map(|(name, payload)| NewJob::new(name, "q", "g", payload.as_bytes()));
        let body = Body::of(jobs.iter());
        let stored = Body::from_stored(body.as_bytes().clone());
        for (slot, job) in (0..).zip(&jobs) {
            assert_eq!(stored.name(slot).unwrap(), job.job.as_str());
            assert_eq!(stored.payload(slot).unwrap(), job.payload);
        }
        assert!(stored.name(3).is_err());
    }

    #[test]
    fn a_damaged_body_is_an_error() {
        let job = NewJob::new("name", "q", "g", "payload");
        let bytes = Body::of([job].iter());
        for length in 0..bytes.as_bytes().len() {
            let torn = Body::from_stored(bytes.as_bytes().slice(..length));
            assert!(torn.payload(0).is_err(), "{length}");
        }
    }
}
