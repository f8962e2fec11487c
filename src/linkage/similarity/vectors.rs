//! Tests against comparisons of the reference library.

use serde_json::Value;

use crate::fixtures::{int, json, list};
use crate::threshold::Threshold;

use super::{Hit, Rows, dice, search};

fn matrix(records: &Value) -> Vec<u8> {
    list(records).iter().flat_map(|hex_text| hex::decode(hex_text.as_str().unwrap()).unwrap()).collect()
}

/// Returns hits that are written as `[score, left, right, bits]`.
fn hits(pairs: &Value) -> Vec<(u64, u32, u32)> {
    let bits = |pair: &Value| u64::from_str_radix(pair[3].as_str().unwrap(), 16).unwrap();
    list(pairs).iter().map(|pair| (bits(pair), int(&pair[1]), int(&pair[2]))).collect()
}

/// Returns the first hits of each left row, at most `k`.
fn cut(hits: &[Hit], k: Option<u64>) -> Vec<(u64, u32, u32)> {
    let mut taken = std::collections::HashMap::new();
    let kept = hits.iter().filter(|hit| {
        let taken = taken.entry(hit.left).or_insert(0);
        *taken += 1;
        k.is_none_or(|k| *taken <= k)
    });
    kept.map(|hit| (hit.score.to_bits(), hit.left, hit.right)).collect()
}

#[test]
fn every_comparison_gives_the_librarys_pairs_in_its_order_to_the_bit() {
    let cases = json("dice.json");
    for case in list(&cases["cases"]) {
        // 0 where there are no encodings at all.
        let encoding_bytes = int(&case["encoding_bytes"]).max(1) as usize;
        let (left, right) = (matrix(&case["left"]), matrix(&case["right"]));
        let left = Rows::all(&left, encoding_bytes).unwrap();
        let right = Rows::all(&right, encoding_bytes).unwrap();
        let threshold = Threshold::new(case["threshold"].as_f64().unwrap()).unwrap();
        let expected = hits(&case["pairs"]);
        let k = case["k"].as_u64();
        let name = &case["name"];
        assert_eq!(cut(&dice::by_definition(&left, &right, threshold), k), expected, "{name}");
        assert_eq!(cut(&search(&left, &right, threshold, u64::MAX).unwrap(), k), expected, "{name}");
    }
}
