//! Reads the test vectors that were made with the reference library.

use std::path::PathBuf;

use serde_json::Value;

use super::pairs::Pair;

/// Returns the bytes of a vector file.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/vectors", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the content of a JSON vector file.
pub(super) fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

/// Returns the items of a JSON list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Returns a JSON integer.
pub(super) fn int(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// Returns a pair that is written as `[score, dataset_0, dataset_1, record_0, record_1]`.
pub(super) fn pair(value: &Value) -> Pair {
    Pair {
        score: value[0].as_f64().unwrap(),
        datasets: [int(&value[1]), int(&value[2])],
        records: [int(&value[3]), int(&value[4])],
    }
}

/// Returns a JSON list of pairs.
pub(super) fn pairs(value: &Value) -> Vec<Pair> {
    list(value).iter().map(pair).collect()
}
