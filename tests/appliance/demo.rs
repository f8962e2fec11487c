//! `entityd demo`: the whole linkage of invented people.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};

#[test]
fn a_demo_of_three_parties_finds_nearly_all_matches_and_keeps_its_files() {
    let folder = TempDir::new().unwrap();
    let keep = folder.path().join("kept");
    let arguments = ["demo", "--records", "200", "--parties", "3", "--json", "--keep"];
    let output = entityd().args(arguments).arg(&keep).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["comparisons"], 3 * 200 * 200);
    assert_eq!(figures["pairs_true"], 3 * 100);
    assert!(figures["precision"].as_f64().unwrap() > 0.95, "{figures}");
    assert!(figures["recall"].as_f64().unwrap() > 0.95, "{figures}");

    assert_eq!(fs::read(keep.join("party-2.bin")).unwrap().len(), 200 * 128);
    assert_eq!(fs::read_to_string(keep.join("party-2.csv")).unwrap().lines().count(), 201);
    let groups: Value = serde_json::from_slice(&fs::read(keep.join("groups.json")).unwrap()).unwrap();
    assert!(groups["groups"].as_array().unwrap().len() > 90);
}

#[test]
fn a_demo_does_not_write_into_a_directory_that_is_not_empty() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("diary.txt"), "mine").unwrap();
    let output = entityd().args(["demo", "--records", "2", "--keep"]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("give a new or an empty directory"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let file = folder.path().join("diary.txt");
    let output = entityd().args(["demo", "--records", "2", "--keep"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        format!("entityd: --keep {}: it is a file, and a directory is needed\n", file.display())
    );
}
