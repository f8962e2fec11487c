//! Tests against pair files of the reference library.

use crate::fixtures::{bytes, json, list, pairs};
use crate::scratch::Memory;

use super::{Error, Pair, Reader, Run, Writer, merge_runs};

fn read(file: &[u8]) -> Result<Vec<Pair>, Error> {
    Reader::open(file)?.collect()
}

fn written(pairs: &[Pair]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for pair in pairs {
        writer.push(pair).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn every_width_is_read_and_the_usual_ones_written_byte_for_byte() {
    for case in list(&json("serialization.json")["files"]) {
        let name = case["file"].as_str().unwrap();
        let file = bytes(name);
        if name == "pairs/wide_u64.bin" {
            assert!(matches!(read(&file), Err(Error::IndexTooLarge(1_099_511_627_776))));
            continue;
        }
        let expected = pairs(&case["pairs"]);
        assert_eq!(read(&file).unwrap(), expected, "{name}");
        if file.starts_with(&super::HEADER) {
            assert_eq!(written(&expected), file, "{name}");
        }
    }
}

#[test]
fn broken_files_are_refused() {
    for case in list(&json("serialization.json")["invalid"]) {
        let name = case["file"].as_str().unwrap();
        assert!(matches!(read(&bytes(name)), Err(Error::Malformed(_))), "{name}");
    }
}

#[test]
fn two_runs_merge_to_the_librarys_bytes() {
    let files = ["pairs/merge_in_a.bin", "pairs/merge_in_b.bin"].map(bytes);
    let runs = files.iter().map(|file| Ok(Box::new(&file[..]) as Run<'_>));
    let merged = merge_runs(runs, &Memory).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(written(&merged), bytes("pairs/merged_ab.bin"));
}
