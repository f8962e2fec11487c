//! Compares plans with a plain definition and with chunks of the reference library; tests damaged plans.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::num::NonZeroU64;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::encoding::block;
use crate::encoding::layout::{self, Damage, Directory, Index, Span};
use crate::scratch::Memory;
use crate::threshold::Threshold;

const RECORDS: u32 = 12;

/// A dataset: for each block, its records.
type Blocks = BTreeMap<String, BTreeSet<u32>>;

fn threshold() -> Threshold {
    Threshold::new(0.85).unwrap()
}

fn index(records: u32, encoding_bytes: u32, blocks: Option<&Blocks>) -> Vec<u8> {
    let entries = blocks.map(|blocks| {
        let entry = |(name, records): (&String, &BTreeSet<u32>)| {
            let block = block::digest(name);
            let bytes = |&record| block::Entry { block, record }.to_bytes();
            records.iter().flat_map(bytes).collect::<Vec<_>>()
        };
        blocks.iter().flat_map(entry).collect::<Vec<_>>()
    });
    let matrix = vec![0; (records * encoding_bytes) as usize];
    let dataset = layout::Dataset {
        upload: 0,
        records,
        encoding_bytes,
        matrix: &*matrix,
        entries: entries.map(Cursor::new),
    };
    let mut out = Vec::new();
    layout::build(dataset, &Memory, &mut out).unwrap();
    out
}

fn planned(indexes: &[Vec<u8>], aim: u64) -> Result<Vec<u8>, layout::Error> {
    let directories = indexes.iter().map(|index| Directory::open(&**index).unwrap()).collect();
    let mut out = Vec::new();
    let planned = build(directories, threshold(), NonZeroU64::new(aim).unwrap(), &Memory, &mut out)?;
    assert_eq!(planned.largest.clone().into_comparisons(), largest(indexes));
    let parsed = Plan::parse(&out).unwrap();
    assert_eq!((parsed.parts(), parsed.comparisons()), (planned.parts, planned.comparisons));
    Ok(out)
}

fn largest(indexes: &[Vec<u8>]) -> Vec<u64> {
    let directories = indexes.iter().map(|index| Directory::open(&**index).unwrap()).collect();
    largest_blocks(directories).unwrap().into_comparisons()
}

fn largest_by_definition(datasets: &[Blocks]) -> Vec<u64> {
    let names: BTreeSet<&String> = datasets.iter().flat_map(Blocks::keys).collect();
    let of = |name: &String| {
        let alone = |blocks: &Blocks| {
            blocks
                .iter()
                .filter(|(block, _)| *block == name)
                .map(|(block, records)| (block.clone(), records.clone()))
                .collect()
        };
        by_definition(&datasets.iter().map(alone).collect::<Vec<Blocks>>()).len() as u64
    };
    let mut all: Vec<u64> = names.into_iter().map(of).filter(|comparisons| *comparisons > 0).collect();
    all.sort_unstable_by(|left, right| right.cmp(left));
    all.truncate(5);
    all
}

fn parts_of<'a>(plan: &Plan<'a>) -> Vec<Part<'a>> {
    (0..plan.parts()).map(|number| plan.part(number).unwrap().unwrap()).collect()
}

/// Returns every comparison of the plan, duplicates included.
fn comparisons(plan: &Plan<'_>, indexes: &[Vec<u8>]) -> Vec<[u32; 4]> {
    let indexes: Vec<_> = indexes.iter().map(|index| Index::parse(index).unwrap()).collect();
    let mut found = Vec::new();
    for entry in parts_of(plan).iter().flat_map(|part| part.entries().collect::<Vec<_>>()) {
        let left = indexes[entry.left_dataset as usize].rows(entry.left).unwrap();
        let right = indexes[entry.right_dataset as usize].rows(entry.right).unwrap();
        for left in left.iter() {
            found.extend(right.iter().map(|right| [entry.left_dataset, entry.right_dataset, left, right]));
        }
    }
    found.sort_unstable();
    found
}

fn by_definition(datasets: &[Blocks]) -> Vec<[u32; 4]> {
    let mut expected = Vec::new();
    for (i, left) in datasets.iter().enumerate() {
        for (j, right) in datasets.iter().enumerate().skip(i + 1) {
            for (name, left) in left {
                let right = right.get(name).into_iter().flatten();
                let cross = right.flat_map(|r| left.iter().map(move |l| [i as u32, j as u32, *l, *r]));
                expected.extend(cross);
            }
        }
    }
    expected.sort_unstable();
    expected
}

fn datasets() -> impl Strategy<Value = Vec<Blocks>> {
    let records = proptest::collection::btree_set(0..RECORDS, 1..10);
    let blocks = proptest::collection::btree_map("[a-f]", records, 0..6);
    proptest::collection::vec(blocks, 2..5)
}

proptest! {
    #[test]
    fn a_plan_compares_what_its_definition_says(datasets in datasets(), aim in 1_u64..80) {
        let indexes: Vec<_> = datasets.iter().map(|blocks| index(RECORDS, 8, Some(blocks))).collect();
        let bytes = planned(&indexes, aim).unwrap();
        let plan = Plan::parse(&bytes).unwrap();
        let expected = by_definition(&datasets);
        prop_assert_eq!(plan.comparisons(), expected.len() as u64);
        prop_assert_eq!(comparisons(&plan, &indexes), expected);
        prop_assert_eq!(largest(&indexes), largest_by_definition(&datasets));
        prop_assert_eq!(plan.part(plan.parts()).unwrap().is_none(), true);
        for part in parts_of(&plan) {
            prop_assert!(part.comparisons() <= aim || part.entries().len() == 1);
        }
    }

    #[test]
    fn no_damaged_byte_goes_unseen(
        datasets in datasets(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let indexes: Vec<_> = datasets.iter().map(|blocks| index(RECORDS, 8, Some(blocks))).collect();
        let mut bytes = planned(&indexes, 20).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let damaged = |plan: Plan<'_>| (0..plan.parts()).any(|number| plan.part(number).is_err());
        prop_assert!(Plan::parse(&bytes).map_or(true, damaged));
        prop_assert!(Plan::parse(&bytes[..at]).is_err());
    }

    #[test]
    fn garbage_is_no_plan(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Plan::parse(&bytes).is_err());
    }

    /// The checksums are right, but the numbers are arbitrary.
    #[test]
    fn a_plan_that_lies_consistently_does_no_harm(
        datasets in datasets(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let indexes: Vec<_> = datasets.iter().map(|blocks| index(RECORDS, 8, Some(blocks))).collect();
        let mut bytes = planned(&indexes, 20).unwrap();
        let parts = Plan::parse(&bytes).unwrap().parts() as usize;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let front = 64 + datasets.len() * 8 + parts * 24;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..60]);
        crc.update(&bytes[64..front]);
        let crc = crc.finalize();
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        if let Ok(plan) = Plan::parse(&bytes) {
            for number in 0..plan.parts() {
                if let Ok(Some(part)) = plan.part(number) {
                    prop_assert!(part.entries().all(|entry| entry.left_dataset < entry.right_dataset));
                }
            }
        }
    }
}

/// Returns a chunk in the format of the vectors: for each side the dataset, first record, and last record plus one.
fn chunk(entry: &Entry) -> Value {
    let side = |dataset, span| match span {
        Span::Rows { first, count } => serde_json::json!([dataset, first, first + count]),
        Span::Ids { .. } => panic!("these blocks are dense"),
    };
    Value::Array(vec![side(entry.left_dataset, entry.left), side(entry.right_dataset, entry.right)])
}

#[test]
fn large_comparisons_are_cut_where_the_reference_cuts_them() {
    let text = include_str!("../../../../tests/fixtures/vectors/chunking.json");
    let file: Value = serde_json::from_str(text).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let sizes = case["sizes"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as u32);
        let indexes: Vec<_> = sizes.map(|size| index(size, 1, None)).collect();
        let bytes = planned(&indexes, case["aim"].as_u64().unwrap()).unwrap();
        let plan = Plan::parse(&bytes).unwrap();
        let chunks: Vec<Value> =
            parts_of(&plan).iter().flat_map(Part::entries).map(|entry| chunk(&entry)).collect();
        assert_eq!(chunks.len() as u64, case["n_chunks"].as_u64().unwrap());
        let expected = case["chunks"].as_array().unwrap();
        let head = expected.iter().position(Value::is_string).unwrap_or(expected.len());
        let tail = expected.len().saturating_sub(head + 1);
        assert_eq!(chunks[..head], expected[..head]);
        assert_eq!(chunks[chunks.len() - tail..], expected[expected.len() - tail..]);
    }
}

#[test]
fn small_blocks_share_a_part() {
    let blocks: Blocks = (0..10).map(|name| (name.to_string(), BTreeSet::from([1, 3]))).collect();
    let indexes = [index(RECORDS, 8, Some(&blocks)), index(RECORDS, 8, Some(&blocks))];
    let bytes = planned(&indexes, 12).unwrap();
    let plan = Plan::parse(&bytes).unwrap();
    let sizes: Vec<_> = parts_of(&plan).iter().map(Part::comparisons).collect();
    assert_eq!(sizes, [12, 12, 12, 4]);
    assert_eq!((plan.comparisons(), plan.aim(), plan.threshold()), (40, 12, threshold()));
    let dataset = Dataset { records: RECORDS, encoding_bytes: 8 };
    assert_eq!(plan.datasets().collect::<Vec<_>>(), [dataset; 2]);
}

#[test]
fn without_a_common_block_there_is_nothing_to_do() {
    let named = |name: &str| Blocks::from([(name.to_owned(), BTreeSet::from([0]))]);
    let indexes = [index(RECORDS, 8, Some(&named("a"))), index(RECORDS, 8, Some(&named("b")))];
    let bytes = planned(&indexes, 10).unwrap();
    assert_eq!((Plan::parse(&bytes).unwrap().parts(), Plan::parse(&bytes).unwrap().comparisons()), (0, 0));
}

#[test]
fn the_default_block_is_the_one_called_1() {
    let one = Blocks::from([("1".to_owned(), BTreeSet::from([4, 6]))]);
    let indexes = [index(RECORDS, 8, Some(&one)), index(3, 8, None)];
    let bytes = planned(&indexes, 100).unwrap();
    assert_eq!(Plan::parse(&bytes).unwrap().comparisons(), 6);
}

#[test]
fn encodings_of_different_size_are_not_planned() {
    let error = planned(&[index(3, 8, None), index(3, 16, None)], 100).unwrap_err();
    assert!(matches!(error, layout::Error::Damaged(Damage::Contradiction { .. })));
}

#[test]
fn entries_become_tiles_of_the_stored_rows() {
    let listed = Blocks::from([("1".to_owned(), BTreeSet::from([0, 3, 7]))]);
    let indexes = [index(RECORDS, 8, Some(&listed)), index(RECORDS, 8, None)];
    let matrix = vec![0; (RECORDS * 8) as usize];
    let stored = [0, 1].map(|i: usize| Stored { index: Index::parse(&indexes[i]).unwrap(), matrix: &matrix });
    let bytes = planned(&indexes, 1000).unwrap();
    let entry = parts_of(&Plan::parse(&bytes).unwrap())[0].entries().next().unwrap();
    let tile = entry.tile(&stored[0], &stored[1]).unwrap();
    assert_eq!((tile.datasets, tile.left.record(2), tile.right.len()), ([0, 1], 7, RECORDS as usize));
    let short = Stored { matrix: &matrix[8..], ..stored[1] };
    assert!(entry.tile(&stored[0], &short).is_err());
}
