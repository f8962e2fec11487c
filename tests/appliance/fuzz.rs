//! Replays the corpora of the fuzz targets.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[path = "../fuzz/chunked.rs"]
mod chunked;
#[path = "../fuzz/keys.rs"]
mod keys;
#[path = "../fuzz/peers.rs"]
mod peers;
#[path = "../fuzz/policy.rs"]
mod policy;
#[path = "../fuzz/uploads.rs"]
mod uploads;

/// Calls `check` with every file of a target's corpus, which is stored as an archive.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let unpacked = TempDir::new().unwrap();
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(corpus.join(format!("{target}.tar.gz")))
        .arg("-C")
        .arg(unpacked.path())
        .status();
    assert!(tar.unwrap().success(), "{target} has no corpus");
    let files: Vec<_> =
        std::fs::read_dir(unpacked.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in files {
        println!("{}", file.display());
        check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn any_text_is_stored_as_a_key() {
    replay("keys", keys::check);
}

#[test]
fn a_body_means_the_same_in_any_pieces() {
    replay("uploads", uploads::check);
}

#[test]
fn a_policy_allows_what_it_says() {
    replay("policy", policy::check);
}

#[test]
fn chunks_are_split_and_not_changed() {
    replay("chunked", chunked::check);
}

#[test]
fn only_addresses_that_the_proxy_reported_are_accepted() {
    replay("peers", peers::check);
}
