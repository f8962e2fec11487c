//! Tests against linkages, solver inputs and results of the reference library.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64_simd::STANDARD;
use serde_json::Value;

use super::{Groups, Permutations, Record, by_definition, solve, write_groups, write_scores};
use crate::fixtures::{bytes, int, json, list, pairs};
use crate::pairs::{PAIRS_BUFFERED, Pair, Reader};
use crate::scratch::Memory;
use crate::similarity::{Job, Kernel, Rows, Sides, Tile, TuningCell, compare};
use crate::threshold::Threshold;

fn records(groups: &Value) -> Vec<Vec<Record>> {
    let record = |record: &Value| Record { dataset: int(&record[0]), index: int(&record[1]) };
    list(groups).iter().map(|group| list(group).iter().map(record).collect()).collect()
}

/// Returns the sizes of the smallest datasets that have all these records.
fn sizes(pairs: &[Pair]) -> Vec<u32> {
    let mut sizes = vec![0; 5];
    for pair in pairs {
        for (dataset, record) in pair.datasets.iter().zip(pair.records) {
            sizes[*dataset as usize] = sizes[*dataset as usize].max(record + 1);
        }
    }
    while sizes.last() == Some(&0) {
        sizes.pop();
    }
    sizes
}

fn solved(sizes: &[u32], pairs: &[Pair]) -> Groups {
    solve(sizes, pairs.iter().copied().map(Ok)).unwrap()
}

#[test]
fn every_solver_input_gives_the_librarys_groups() {
    for case in list(&json("solver.json")["cases"]) {
        let (pairs, expected, name) = (pairs(&case["pairs"]), records(&case["groups"]), &case["name"]);
        assert_eq!(by_definition(&pairs), expected, "{name}");
        // Only the definition specifies the treatment of a pair that occurs twice.
        if pairs.is_sorted_by(|a, b| a < b) {
            assert_eq!(solved(&sizes(&pairs), &pairs).to_vec(), expected, "{name}");
        }
    }
}

/// A dataset: its matrix, and the records of each block.
struct Dataset {
    matrix: Vec<u8>,
    blocks: std::collections::BTreeMap<String, Vec<u8>>,
}

fn dataset(encodings: &Value, blocks: Option<&Value>) -> Dataset {
    let decode = |text: &Value| STANDARD.decode_to_vec(text.as_str().unwrap()).unwrap();
    let mut by_name = std::collections::BTreeMap::<_, Vec<u8>>::new();
    for record in 0..list(encodings).len() {
        let names = blocks.map_or(vec!["1".to_owned()], |blocks| {
            list(&blocks[record])
                .iter()
                .map(|name| name.as_str().map_or(name.to_string(), str::to_owned))
                .collect()
        });
        for name in names {
            by_name.entry(name).or_default().extend((record as u32).to_le_bytes());
        }
    }
    Dataset { matrix: list(encodings).iter().flat_map(decode).collect(), blocks: by_name }
}

fn tiles(datasets: &[Dataset], encoding_bytes: usize) -> Vec<Tile<'_>> {
    let mut tiles = Vec::new();
    for (i, left) in datasets.iter().enumerate() {
        for (j, right) in datasets.iter().enumerate().skip(i + 1) {
            for (name, ids) in &left.blocks {
                let Some(others) = right.blocks.get(name) else { continue };
                tiles.push(Tile {
                    datasets: [i as u32, j as u32],
                    left: Rows::listed(&left.matrix, encoding_bytes, ids).unwrap(),
                    right: Rows::listed(&right.matrix, encoding_bytes, others).unwrap(),
                });
            }
        }
    }
    tiles
}

#[test]
fn every_flow_gives_the_librarys_pairs_and_groups() {
    for case in list(&json("flows.json")["cases"]) {
        let name = &case["name"];
        let blocks = case["blocks"].as_array();
        let datasets: Vec<_> = list(&case["datasets"])
            .iter()
            .enumerate()
            .map(|(index, encodings)| dataset(encodings, blocks.map(|blocks| &blocks[index])))
            .collect();
        let encoding_bytes = int(&case["encoding_bytes"]) as usize;
        let compared = AtomicU64::new(0);
        let job = Job {
            threshold: Threshold::new(case["threshold"].as_f64().unwrap()).unwrap(),
            kernel: Kernel::best(),
            tuning: &TuningCell::new(),
            sides: &Sides::default(),
            pairs_max: u64::MAX,
            cancelled: &AtomicBool::new(false),
            compared: &compared,
            scratch: &Memory,
            pairs_buffered: PAIRS_BUFFERED,
            written: crate::pairs::Version::Plain,
        };
        let mut run = Vec::new();
        let outcome = compare(&job, tiles(&datasets, encoding_bytes).into_iter().map(Ok), &mut run).unwrap();
        assert_eq!(outcome.comparisons, case["total_number_comparisons"].as_u64().unwrap(), "{name}");
        assert_eq!(outcome.comparisons, compared.load(Ordering::Relaxed), "{name}");
        assert_eq!(outcome.pairs_found, case["pairs_before_dedup"].as_u64().unwrap(), "{name}");

        let read: Vec<Pair> = Reader::open(&run[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, pairs(&case["pairs"]), "{name}");
        let sizes: Vec<u32> = datasets.iter().map(|set| (set.matrix.len() / encoding_bytes) as u32).collect();
        assert_eq!(solved(&sizes, &read).to_vec(), records(&case["groups"]), "{name}");
    }
}

#[test]
fn scores_have_the_librarys_text() {
    for case in list(&json("serialization.json")["result_json"]) {
        let file = bytes(case["file"].as_str().unwrap());
        let mut body = Vec::new();
        write_scores(Reader::open(&file[..]).unwrap(), &mut body).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), case["body"].as_str().unwrap());
    }
}

#[test]
fn groups_are_written_as_nested_lists() {
    let pairs = pairs(&serde_json::json!([[0.9, 0, 1, 2, 1], [0.8, 0, 1, 0, 0]]));
    let text = |sizes: &[u32], pairs: &[Pair]| {
        let mut body = Vec::new();
        write_groups(&solved(sizes, pairs), &mut body).unwrap();
        String::from_utf8(body).unwrap()
    };
    assert_eq!(text(&[3, 2], &pairs), r#"{"groups": [[[0, 0], [1, 0]], [[0, 2], [1, 1]]]}"#);
    assert_eq!(text(&[3, 2], &[]), r#"{"groups": []}"#);
}

/// Checks the properties of the permutations and the mask of these groups.
fn assert_hides(sizes: [usize; 2], groups: &[Vec<Record>], drawn: &Permutations) {
    assert_eq!(drawn.rows(), sizes[0].min(sizes[1]));
    assert_eq!(drawn.mask.iter().filter(|set| **set).count(), groups.len());
    for (party, size) in drawn.of_party.iter().zip(sizes) {
        let mut positions = party.clone();
        positions.sort_unstable();
        assert!(positions.iter().copied().eq(0..size as u32), "a permutation of 0..{size}");
    }
    for group in groups {
        let [a, b] = [0, 1].map(|party| drawn.of_party[party][group[party].index as usize]);
        assert!(a == b && drawn.mask[a as usize], "both records of a group are at one position");
    }
}

#[test]
fn permutations_have_the_properties_of_the_examples() {
    for case in list(&json("permutations.json")["cases"]) {
        let groups = records(&case["groups"]);
        let sizes = [int(&case["size_a"]), int(&case["size_b"])];
        let party = |name: &str| list(&case[name]).iter().map(int).collect();
        let example = Permutations {
            mask: list(&case["mask"]).iter().map(|set| int(set) == 1).collect(),
            of_party: [party("permutation_a"), party("permutation_b")],
        };
        assert_hides(sizes.map(|size| size as usize), &groups, &example);
        let pairs: Vec<_> = groups
            .iter()
            .map(|group| Pair { score: 1.0, datasets: [0, 1], records: [group[0].index, group[1].index] })
            .collect();
        for seed in 0..20 {
            let drawn = Permutations::draw(&solved(&sizes, &pairs), [seed; 32]);
            assert_hides(sizes.map(|size| size as usize), &groups, &drawn);
        }
    }
}

#[test]
fn a_seed_draws_the_same_for_ever() {
    let pairs = pairs(&serde_json::json!([[0.9, 0, 1, 2, 1], [0.8, 0, 1, 0, 0]]));
    let drawn = Permutations::draw(&solved(&[5, 4], &pairs), [7; 32]);
    assert_eq!(drawn.mask, [true, true, false, false]);
    assert_eq!(drawn.of_party, [vec![1, 4, 0, 3, 2], vec![1, 0, 2, 3]]);
}
