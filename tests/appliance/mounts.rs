//! Parts of the data directory on other file systems.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, eventually};

/// Returns a folder on a different file system from `folder`; `None` where there is no such file system.
fn elsewhere(folder: &TempDir) -> Option<TempDir> {
    let other = TempDir::new_in("/dev/shm").ok()?;
    let device = |folder: &TempDir| fs::metadata(folder.path()).unwrap().dev();
    let differs = device(&other) != device(folder);
    if !differs {
        // The output of `eprintln!` is hidden if the test passes.
        let _ =
            io::stderr().write_all(b"skipped: /dev/shm is on the same file system as the temporary folder\n");
    }
    differs.then_some(other)
}

/// Moves a part of a stopped server's data directory to `other`, and leaves a symlink in its place.
fn moved(folder: &TempDir, part: &str, other: &TempDir) {
    let (inside, outside) = (folder.path().join("data").join(part), other.path().join("part"));
    fs::create_dir_all(&inside).unwrap();
    // A rename does not work across file systems.
    let copied = Command::new("cp").arg("-a").args([&inside, &outside]).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(&inside).unwrap();
    symlink(&outside, &inside).unwrap();
}

#[tokio::test]
async fn each_part_of_the_data_directory_may_be_on_another_file_system() {
    for part in ["objects", "objects/projects", "spool", "queue"] {
        let (_, folder) = Entityd::start().stop();
        let Some(other) = elsewhere(&folder) else { return };
        moved(&folder, part, &other);
        let server = Entityd::in_folder(folder, &[]);
        let project = server.api().project("similarity_scores").await;
        project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
        project.upload(1, &[ENCODING]).await;
        let run = project.run(0.9).await;
        assert_eq!(run.ended().await["state"], "completed", "{part}");
        let result: Value = run.result(&project.result_token).await.json().await.unwrap();
        assert_eq!(result, json!({"similarity_scores": [[[0, 0], [1, 0], 1.0]]}), "{part}");
        assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
        eventually("no byte is left", async || server.payload_files().is_empty().then_some(())).await;
        let said = server.log().contains("are on different file systems");
        assert_eq!(said, ["objects", "spool"].contains(&part), "{part}");
    }
}

#[tokio::test]
async fn an_empty_part_may_be_mounted_before_the_first_start() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("data/objects/lost+found")).unwrap();
    fs::create_dir(folder.path().join("data/spool")).unwrap();
    let server = Entityd::in_folder(folder, &[]);
    server.api().project("groups").await;
}

#[tokio::test]
async fn a_copy_that_a_crash_left_unfinished_is_removed_at_the_next_start() {
    let (_, folder) = Entityd::start().stop();
    let scores = folder.path().join("data/objects/similarity-scores");
    fs::create_dir_all(&scores).unwrap();
    fs::write(scores.join("copy-aB3xYz"), "half of it").unwrap();
    let server = Entityd::in_folder(folder, &[]);
    assert!(server.payload_files().is_empty());
}
