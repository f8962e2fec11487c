//! Fuzzes the bodies of uploads, JSON and binary, and the objects that they may name: the outcome does not depend on
//! the pieces in which they arrive, and accepted data has been written in full. The corpus is replayed by
//! `tests/appliance/fuzz.rs`.

use std::io::Read;

use entityd::linkage::encoding::block::ENTRY_BYTES;
use entityd::linkage::encoding::entries::{Version, read_all};
use entityd::linkage::encoding::json::{self, Expected, Received};
use entityd::linkage::encoding::{Error, Summary, binary};

const RECORDS_MAX: u32 = 1000;

/// Yields the bytes one by one.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

/// Panics if one of the readers contradicts itself about `data`.
pub(super) fn check(data: &[u8]) {
    for uses_blocking in [false, true] {
        let expected = Expected { uses_blocking, records_max: RECORDS_MAX };
        let whole = as_json(data, expected);
        assert_eq!(whole, as_json(Trickle(data), expected), "pieces make no difference");
    }
    for records in [1, 3] {
        assert_eq!(encodings(data, records), encodings(Trickle(data), records), "pieces make no difference");
        assert_eq!(blocks(data, records), blocks(Trickle(data), records), "pieces make no difference");
    }
    // A binary upload declares its size in headers: two bytes of the body stand for them.
    if let [records, bytes, body @ ..] = data {
        let (records, bytes) = (u32::from(*records), u32::from(*bytes));
        let whole = as_binary(body, records, bytes);
        assert_eq!(whole, as_binary(Trickle(body), records, bytes), "pieces make no difference");
    }
}

type Written<T> = Result<(T, Vec<u8>, Vec<u8>), String>;

fn as_json(source: impl Read, expected: Expected) -> Written<Received> {
    let (mut matrix, mut entries) = (Vec::new(), Vec::new());
    let version = Version::Numbered;
    let received = json::upload(source, expected, &mut matrix, &mut entries, version).map_err(said)?;
    if let Received::Inline(summary) = &received {
        complete(summary, &matrix);
        assert!(summary.records <= RECORDS_MAX);
        assert!(expected.uses_blocking || entries.is_empty());
    } else {
        assert!(matrix.is_empty() && entries.is_empty(), "objects are read later");
    }
    assert!(read_all(&entries).is_ok());
    Ok((received, matrix, entries))
}

fn as_binary(source: impl Read, records: u32, encoding_bytes: u32) -> Written<Summary> {
    let mut matrix = Vec::new();
    let summary = binary::read(source, records, encoding_bytes, &mut matrix).map_err(said)?;
    complete(&summary, &matrix);
    assert_eq!((summary.records, summary.encoding_bytes), (records, encoding_bytes));
    Ok((summary, matrix, Vec::new()))
}

/// Reads the bytes as the object with the encodings, eight bytes each.
fn encodings(source: impl Read, records: u32) -> Written<Summary> {
    let mut matrix = Vec::new();
    let summary = json::encodings(source, records, 8, &mut matrix).map_err(said)?;
    complete(&summary, &matrix);
    assert_eq!((summary.records, summary.encoding_bytes), (records, 8));
    Ok((summary, matrix, Vec::new()))
}

/// Reads the bytes as the object with the blocks.
fn blocks(source: impl Read, records: u32) -> Written<u64> {
    let mut entries = Vec::new();
    let count = json::blocks(source, records, &mut entries).map_err(said)?;
    assert_eq!(entries.len() as u64, count * ENTRY_BYTES as u64);
    Ok((count, Vec::new(), entries))
}

fn complete(summary: &Summary, matrix: &[u8]) {
    let bytes = u64::from(summary.records) * u64::from(summary.encoding_bytes);
    assert_eq!(matrix.len() as u64, bytes, "every row is written");
}

/// Returns the error of a rejected body; memory errors do not occur.
fn said(error: Error) -> String {
    match error {
        Error::Rejected(rejection) => rejection.to_string(),
        other => panic!("{other}"),
    }
}
