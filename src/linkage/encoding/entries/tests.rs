//! Compares version 2 with version 1, in what is read and in the index that is made of it.

use std::io::Cursor;

use proptest::prelude::*;

use super::names::{Names, ROOM_MIN, hash};
use super::*;
use crate::encoding::block::{self, Entry};
use crate::encoding::layout::{Dataset, build};
use crate::scratch::Memory;

/// Returns the entries in both versions, after checking the first one against the definition.
fn written<'a>(entries: impl Iterator<Item = (u32, &'a str)> + Clone) -> [Vec<u8>; 2] {
    written_within(LIST_MAX, entries)
}

fn written_within<'a>(
    list_max: usize,
    entries: impl Iterator<Item = (u32, &'a str)> + Clone,
) -> [Vec<u8>; 2] {
    let expected: Vec<u8> = entries
        .clone()
        .flat_map(|(record, name)| Entry { block: block::digest(name), record }.to_bytes())
        .collect();
    let (mut plain, mut numbered) = (Vec::new(), Vec::new());
    write(Entries::new(Version::Plain, &mut plain), entries.clone());
    write(Entries::numbered_within(list_max, &mut numbered), entries);
    assert!(plain == expected);
    [plain, numbered]
}

fn write<'a>(mut writer: Entries<&mut Vec<u8>>, entries: impl Iterator<Item = (u32, &'a str)>) {
    let mut count = 0;
    for (record, name) in entries {
        writer.push(record, name.as_bytes()).unwrap();
        count += 1;
    }
    writer.flush().unwrap();
    assert_eq!(writer.count(), count);
}

fn index(records: u32, entries: &[u8]) -> Vec<u8> {
    let matrix = vec![7; records as usize * 8];
    let entries = Some(Cursor::new(entries));
    let mut out = Vec::new();
    build(Dataset { upload: 0, records, encoding_bytes: 8, matrix: &*matrix, entries }, &Memory, &mut out)
        .unwrap();
    out
}

/// Names of all lengths: none, kept, the longest that is kept, and longer ones.
fn name() -> impl Strategy<Value = String> {
    let length = prop_oneof![0..20_usize, 60..70_usize, 127..130_usize, Just(300)];
    (length, 0..4_u8).prop_map(|(length, kind)| char::from(b'a' + kind).to_string().repeat(length))
}

proptest! {
    #[test]
    fn both_versions_hold_the_same(
        entries in proptest::collection::vec((0..50_u32, name()), 0..300),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let [plain, mut numbered] = written(entries.iter().map(|(record, name)| (*record, &**name)));
        prop_assert_eq!(read_all(&numbered).unwrap(), read_all(&plain).unwrap());
        prop_assert_eq!(index(50, &numbered), index(50, &plain));
        prop_assert_eq!(numbered.is_empty(), plain.is_empty());
        for (at, byte) in damage {
            if !numbered.is_empty() {
                let at = at.index(numbered.len());
                numbered[at] = byte;
            }
        }
        // What is damaged is refused, or stands for something else.
        let _ = read_all(&numbered);
        let dataset =
            Dataset { upload: 0, records: 50, encoding_bytes: 8, matrix: &[7; 400][..], entries: Some(Cursor::new(&numbered)) };
        let _ = build(dataset, &Memory, std::io::sink());
    }
}

#[test]
fn more_names_than_a_list_holds_begin_another() {
    let names: Vec<String> = (0..ROOM_MIN + 1_000).map(|name| name.to_string()).collect();
    let again = [(3, "7"), (4, "99"), (4, "4100")];
    let entries = names.iter().enumerate().map(|(at, name)| (at as u32 % 1000, &**name)).chain(again);
    let [plain, numbered] = written_within(ROOM_MIN, entries);
    let mut source = Cursor::new(&*numbered);
    assert!(is_numbered(&mut source).unwrap());
    assert!(Frames::new(source).list().unwrap().is_none());
    assert_eq!(index(1000, &numbered), index(1000, &plain));
}

#[test]
fn a_name_is_stored_once() {
    let entries = (0..60_000).map(|record| (record, ["north", "south"][record as usize % 2]));
    let [plain, numbered] = written(entries);
    assert!(numbered.len() < 60_000 * PAIR_BYTES + 1_000, "{} bytes", numbered.len());
    assert_eq!(index(60_000, &numbered), index(60_000, &plain));
}

#[test]
fn entries_that_are_cut_are_refused() {
    let [_, numbered] = written((0..20).map(|record| (record, ["a", "b"][record as usize % 2])));
    for length in MAGIC.len() + 1..numbered.len() {
        assert!(read_all(&numbered[..length]).is_err(), "{length}");
        assert!(Frames::new(Cursor::new(&numbered[MAGIC.len()..length])).list().is_err(), "{length}");
    }
}

#[test]
fn names_that_share_their_lines_push_each_other_out() {
    let mut names = Names::within(ROOM_MIN);
    assert!(names.reserve(1, 1));
    let crowded: Vec<String> = (0..)
        .map(|name: u32| name.to_string())
        .filter(|name| names.lines(hash(name.as_bytes())).iter().all(|&line| line < 2))
        .take(60)
        .collect();
    for (number, name) in crowded.iter().enumerate() {
        let name = name.as_bytes();
        assert_eq!(names.find(hash(name), name), None);
        assert_eq!(names.add(hash(name), name), number as u32);
        assert_eq!(names.find(hash(name), name), Some(number as u32));
    }
    let found = crowded.iter().map(|name| names.find(hash(name.as_bytes()), name.as_bytes()));
    let known = found.enumerate().filter(|(number, found)| {
        assert!(found.is_none_or(|found| found as usize == *number));
        found.is_some()
    });
    assert!((1..=32).contains(&known.count()));
}
