//! Compares the index with a simple definition, and tests damaged indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use proptest::prelude::*;

use super::build::build_within;
use super::sort::Limits;
use super::*;
use crate::encoding::block::{self, Digest, Entry};
use crate::encoding::entries::{Entries, Version};
use crate::scratch::Memory;

/// Limits so small that a few entries take several runs, and merging them several passes.
const TINY: Limits = Limits { run_bytes: 5 * 40, fan_in: 2, piece_bytes: 72 };

const RECORDS: u32 = 40;

fn matrix(records: u32, encoding_bytes: u32) -> Vec<u8> {
    (0..records * encoding_bytes).map(|at| (at * 7) as u8).collect()
}

fn bytes_of(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_bytes()).collect()
}

fn built(limits: Limits, records: u32, entries: Option<&[Entry]>) -> Result<Vec<u8>, Error> {
    let (matrix, entries) = (matrix(records, 8), entries.map(bytes_of));
    let dataset = Dataset {
        upload: 0,
        records,
        encoding_bytes: 8,
        matrix: &*matrix,
        entries: entries.map(Cursor::new),
    };
    let mut out = Vec::new();
    let header = build_within(limits, dataset, &Memory, &mut out)?;
    assert_eq!(Index::parse(&out).unwrap().header(), &header);
    Ok(out)
}

/// Returns the blocks of an index, read in memory and as a stream, which must agree.
fn blocks_of(index: &[u8]) -> BTreeMap<Digest, Vec<u32>> {
    let parsed = Index::parse(index).unwrap();
    let mut directory = Directory::open(index).unwrap();
    let streamed: Vec<_> = std::iter::from_fn(|| directory.next_block().unwrap()).collect();
    assert_eq!(parsed.blocks().collect::<Vec<_>>(), streamed);
    assert!(streamed.iter().all(|block| parsed.block(&block.digest) == Some(*block)));
    streamed.iter().map(|block| (block.digest, parsed.rows(block.span).unwrap().iter().collect())).collect()
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    // Some digests differ in the last byte alone.
    let digest = |name: u8| {
        if name < 6 {
            block::digest(&name.to_string())
        } else {
            [[7; 31].as_slice(), &[name]].concat().try_into().unwrap()
        }
    };
    let entry = (0_u8..9, 0..RECORDS).prop_map(move |(name, record)| Entry { block: digest(name), record });
    proptest::collection::vec(entry, 0..120)
}

proptest! {
    #[test]
    fn an_index_holds_the_blocks_of_its_definition(
        entries in entries(),
        run_bytes in 40_usize..6_000,
        fan_in in 2_usize..70,
    ) {
        let mut expected = BTreeMap::<Digest, BTreeSet<u32>>::new();
        for entry in &entries {
            expected.entry(entry.block).or_default().insert(entry.record);
        }
        let expected: BTreeMap<_, Vec<_>> =
            expected.into_iter().map(|(digest, records)| (digest, records.into_iter().collect())).collect();
        let index = built(TINY, RECORDS, Some(&entries)).unwrap();
        prop_assert_eq!(blocks_of(&index), expected);
        for limits in [Limits { run_bytes, fan_in, ..TINY }, Limits::DEFAULT] {
            prop_assert_eq!(&built(limits, RECORDS, Some(&entries)).unwrap(), &index);
        }
    }

    /// Entries are put into their places in as many parts as the limits force, and blocks that do not fit are sorted in
    /// runs.
    #[test]
    fn numbered_entries_give_the_same_index(
        names in proptest::collection::vec((0_u8..6, 0..RECORDS), 0..120),
        run_bytes in 8_usize..1_000,
        in_order: bool,
    ) {
        let mut names = names;
        if in_order {
            names.sort_unstable_by_key(|&(_, record)| record);
        }
        let entry = |&(name, record): &(u8, u32)| Entry { block: block::digest(&name.to_string()), record };
        let expected = built(TINY, RECORDS, Some(&names.iter().map(entry).collect::<Vec<_>>())).unwrap();
        let mut numbered = Vec::new();
        let mut writer = Entries::new(Version::Numbered, &mut numbered);
        names.iter().try_for_each(|(name, record)| writer.push(*record, name.to_string().as_bytes())).unwrap();
        writer.flush().unwrap();
        for limits in [TINY, Limits { run_bytes, fan_in: 5, ..TINY }, Limits::DEFAULT] {
            let matrix = matrix(RECORDS, 8);
            let dataset = Dataset {
                upload: 0,
                records: RECORDS,
                encoding_bytes: 8,
                matrix: &*matrix,
                entries: Some(Cursor::new(&numbered)),
            };
            let mut index = Vec::new();
            build_within(limits, dataset, &Memory, &mut index).unwrap();
            prop_assert_eq!(&index, &expected);
        }
    }

    #[test]
    fn no_damaged_byte_goes_unseen(entries in entries(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut index = built(Limits::DEFAULT, RECORDS, Some(&entries)).unwrap();
        let at = at.index(index.len());
        index[at] ^= flip;
        prop_assert!(Index::parse(&index).is_err());
        prop_assert!(Index::parse(&index[..at]).is_err());
        read_to_the_end(&index);
        read_to_the_end(&index[..at]);
    }

    #[test]
    fn garbage_is_no_index(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Index::parse(&bytes).is_err());
        prop_assert!(Directory::open(&*bytes).is_err());
    }

    /// An index may have correct checksums over arbitrary numbers.
    #[test]
    fn an_index_that_lies_consistently_does_no_harm(
        entries in entries(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut index = built(Limits::DEFAULT, RECORDS, Some(&entries)).unwrap();
        for (at, byte) in damage {
            let at = at.index(index.len());
            index[at] = byte;
        }
        mend_sums(&mut index);
        if let Ok(index) = Index::parse(&index) {
            for block in index.blocks() {
                let rows = index.rows(block.span).unwrap();
                prop_assert!(rows.iter().all(|row| row < index.header().records));
            }
        }
        read_to_the_end(&index);
    }
}

fn read_to_the_end(index: &[u8]) {
    if let Ok(mut directory) = Directory::open(index) {
        while let Ok(Some(_)) = directory.next_block() {}
    }
}

fn mend_sums(index: &mut [u8]) {
    use super::header::{u32_at, u64_at};
    let chunks = (u64::from(u32_at(index, 12)) * u64::from(u32_at(index, 16))).div_ceil(CHUNK_BYTES);
    let directory = 64 + chunks as usize * 4;
    let ids = directory.saturating_add((u64_at(index, 24) as usize).saturating_mul(48));
    if ids > index.len() {
        return;
    }
    for (at, range) in [(40, 64..directory), (44, directory..ids), (48, ids..index.len()), (60, 0..60)] {
        let crc = crc32fast::hash(&index[range]);
        index[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn records_that_follow_one_another_are_not_listed() {
    let entry = |name: &str, record| Entry { block: block::digest(name), record };
    let entries = [entry("a", 3), entry("a", 2), entry("a", 2), entry("b", 0), entry("b", 2)];
    let index = built(Limits::DEFAULT, 4, Some(&entries)).unwrap();
    let index = Index::parse(&index).unwrap();
    let span = |name: &str| index.block(&block::digest(name)).unwrap().span;
    assert_eq!(span("a"), Span::Rows { first: 2, count: 2 });
    assert_eq!(span("b"), Span::Ids { first: 0, count: 2 });
    assert_eq!(index.header().ids, 2);
    assert_eq!(index.block(&block::digest("c")), None);
    assert!(index.rows(Span::Rows { first: 2, count: 3 }).is_err());
    assert!(index.rows(Span::Ids { first: u64::MAX, count: 2 }).is_err());
}

#[test]
fn without_blocks_all_records_are_in_the_default_block() {
    let index = built(Limits::DEFAULT, 4, None).unwrap();
    let expected = BTreeMap::from([(block::default_block(), vec![0, 1, 2, 3])]);
    assert_eq!(blocks_of(&index), expected);
    assert_eq!(blocks_of(&built(Limits::DEFAULT, 4, Some(&[])).unwrap()), BTreeMap::new());
}

#[test]
fn damage_to_the_matrix_is_found_where_it_is() {
    let records = 300_000;
    let mut matrix = matrix(records, 8);
    let dataset =
        Dataset { upload: 0, records, encoding_bytes: 8, matrix: &*matrix, entries: None::<io::Empty> };
    let mut index = Vec::new();
    build(dataset, &Memory, &mut index).unwrap();
    let index = Index::parse(&index).unwrap();
    assert_eq!(index.verify_rows(&matrix, 0..records), Ok(()));
    matrix[(1 << 20) + 5] ^= 1;
    let damage = Damage::Matrix { start: 1 << 20, stop: 2 << 20 };
    assert_eq!(index.verify_rows(&matrix, 0..records), Err(damage.clone()));
    assert_eq!(index.verify_rows(&matrix, 131_072..131_073), Err(damage));
    assert_eq!(index.verify_rows(&matrix, 0..131_072), Ok(()));
    assert_eq!(index.verify_rows(&matrix, 262_144..records), Ok(()));
    let verified = Verified::nothing(index.header());
    let rows = |first, count| verified.check(&index, &matrix, Span::Rows { first, count });
    assert_eq!((rows(0, 1), rows(262_144, 1), rows(0, 131_072)), (Ok(()), Ok(()), Ok(())));
    assert!(matches!(rows(131_071, 2), Err(Damage::Matrix { .. })));
    // A verified chunk is not checked again.
    assert_eq!(verified.check(&index, &[], Span::Rows { first: 0, count: 1 }), Ok(()));
    assert!(matches!(index.verify_rows(&matrix[1..], 0..1), Err(Damage::Length { .. })));
    assert!(index.verify_chunk(3, &[]).is_err());
}

#[test]
fn a_dataset_that_is_not_as_said_is_refused() {
    for length in [31, 33, 0] {
        let matrix = vec![0; length];
        let dataset = Dataset {
            upload: 0,
            records: 4,
            encoding_bytes: 8,
            matrix: &*matrix,
            entries: None::<io::Empty>,
        };
        let error = build(dataset, &Memory, io::sink()).unwrap_err();
        assert!(matches!(error, Error::Damaged(Damage::Length { expected: 32, .. })), "{length}");
    }
    let beyond = Entry { block: block::default_block(), record: 4 };
    let error = built(Limits::DEFAULT, 4, Some(&[beyond])).unwrap_err();
    assert!(matches!(error, Error::Damaged(Damage::Contradiction { .. })));
    let matrix = matrix(4, 8);
    let cut = &beyond.to_bytes()[..20];
    let dataset = Dataset {
        upload: 0,
        records: 4,
        encoding_bytes: 8,
        matrix: &*matrix,
        entries: Some(Cursor::new(cut)),
    };
    assert!(matches!(build(dataset, &Memory, io::sink()), Err(Error::Source(_))));
}

#[test]
fn an_index_knows_the_upload_that_it_was_built_for() {
    for (upload, others) in [(7, false), (0, true)] {
        let matrix = matrix(4, 8);
        let dataset =
            Dataset { upload, records: 4, encoding_bytes: 8, matrix: &*matrix, entries: None::<io::Empty> };
        let mut out = Vec::new();
        build(dataset, &Memory, &mut out).unwrap();
        let header = *Index::parse(&out).unwrap().header();
        assert!(header.check_upload(7).is_ok());
        assert_eq!(header.check_upload(8).is_ok(), others);
    }
}
