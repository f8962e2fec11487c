//! Stores that are missing, rolled back, or of another server: the server reports it, and removes nothing.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{ENCODING, Entityd, Project, eventually};

/// Kills a server after a run has completed and its temporary files are removed.
async fn used() -> (Project, TempDir) {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    eventually("plan and pairs are gone", async || (server.payload_files().len() == 5).then_some(())).await;
    (project, server.kill())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Copies the data directory in `folder` to a new folder.
fn twin(folder: &TempDir) -> TempDir {
    let twin = TempDir::new().unwrap();
    copy(&folder.path().join("data"), &twin.path().join("data"));
    twin
}

fn objects(folder: &TempDir) -> usize {
    let mut files = entityd::cli::selftest::server::files(&folder.path().join("data/objects/projects"));
    files.retain(|path| path.is_file());
    files.len()
}

/// Asserts that a server does not start, and returns its last line.
async fn refusal(folder: &TempDir) -> String {
    refusal_with(folder, &[]).await
}

async fn refusal_with(folder: &TempDir, variables: &[(&str, &str)]) -> String {
    Entityd::until_it_ends(folder, variables).await;
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    log.lines().last().unwrap_or_default().to_owned()
}

fn damage(data: &Path, file: &str, how: &str) {
    let path = data.join(file);
    match how {
        "gone" => fs::remove_file(path).unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        "cut" => {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
        "garbage" => fs::write(&path, vec![0xA5; 50_000]).unwrap(),
        _ => unreachable!("{how}"),
    }
}

#[tokio::test]
async fn metadata_that_is_missing_or_has_lost_commits_is_refused_by_name_and_no_object_is_removed() {
    let (project, folder) = used().await;
    let whole = objects(&folder);
    assert!(whole > 0);
    let damages: &[&[(&str, &str)]] = &[
        &[("metadata.db", "gone")],
        &[("metadata.db", "empty")],
        &[("metadata.db", "garbage"), ("metadata.db-wal", "gone")],
        &[("metadata.db-wal", "gone")],
        &[("metadata.db-wal", "empty")],
        &[("metadata.db-wal", "cut")],
        &[("metadata.db-wal", "garbage")],
        &[("metadata.db", "gone"), ("metadata.db-wal", "gone")],
        &[("metadata.db", "gone"), ("metadata.mark", "gone")],
        &[("metadata.db", "empty"), ("identity", "gone")],
        &[("metadata.db", "gone"), ("metadata.mark", "gone"), ("identity", "gone")],
    ];
    for damages in damages {
        let twin = twin(&folder);
        let data = twin.path().join("data");
        damages.iter().for_each(|(file, how)| damage(&data, file, how));
        let log = data.join("metadata.db-wal");
        let before = fs::read(&log).unwrap_or_default();
        for _ in 0..2 {
            let said = refusal(&twin).await;
            assert!(said.contains("metadata.db") && said.contains("backup"), "{damages:?}: {said}");
        }
        assert_eq!(objects(&twin), whole, "{damages:?}");
        assert_eq!(fs::read(&log).unwrap_or_default(), before, "{damages:?}");
    }
    for (file, how) in
        [("metadata.mark", "gone"), ("metadata.mark", "garbage"), ("identity", "gone"), ("identity", "cut")]
    {
        let twin = twin(&folder);
        damage(&twin.path().join("data"), file, how);
        let server = Entityd::in_folder(twin, &[]);
        let found = server.api().get(&project.path, &project.result_token).await;
        assert_eq!(found.status(), 200, "{file} {how}");
    }
}

#[tokio::test]
async fn a_loss_of_metadata_can_be_accepted_and_the_old_objects_stay() {
    let (project, folder) = used().await;
    let whole = objects(&folder);
    fs::remove_file(folder.path().join("data/metadata.db")).unwrap();
    let said = refusal(&folder).await;
    let flag = said.split("--accept-loss ").nth(1).unwrap().split([':', ' ']).take(2);
    let loss = flag.collect::<Vec<_>>().join(":");
    let often = ["--maintenance-every-ms", "1000"];
    let server = Entityd::in_folder(folder, &["--accept-loss", &loss, often[0], often[1]]);
    assert_eq!(server.api().get(&project.path, &project.result_token).await.status(), 403);
    let new = server.api().project("groups").await;
    eventually("a clean-up has run", async || server.log().contains("are kept").then_some(())).await;
    let folder = server.kill();
    assert_eq!(objects(&folder), whole);
    let kept = fs::read_dir(folder.path().join("data")).unwrap();
    assert!(
        kept.into_iter().any(|file| file
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("metadata.db-wal.lost-"))
    );
    // The next start does not need the flag.
    let server = Entityd::in_folder(folder, &[]);
    assert_eq!(server.api().get(&new.path, &new.result_token).await.status(), 200);
}

#[tokio::test]
async fn a_store_of_another_data_directory_is_refused_with_both_identities() {
    let (_, folder) = used().await;
    let (_, other) = used().await;
    let data = |folder: &TempDir| folder.path().join("data");
    for file in ["metadata.db", "buckets.db", "queue", "objects"] {
        let mixed = twin(&folder);
        if data(&other).join(file).is_dir() {
            fs::remove_dir_all(data(&mixed).join(file)).unwrap();
            copy(&data(&other).join(file), &data(&mixed).join(file));
        } else {
            for end in ["", "-wal", "-shm"] {
                let [from, to] = [&other, &mixed].map(|folder| data(folder).join(format!("{file}{end}")));
                if from.exists() {
                    fs::copy(from, to).unwrap();
                }
            }
        }
        let said = refusal(&mixed).await;
        for folder in [&folder, &other] {
            assert!(said.contains(&identity(folder)), "{file}: {said}");
        }
    }
}

/// Returns the identity of the data directory in `folder`.
fn identity(folder: &TempDir) -> String {
    let register = fs::read_to_string(folder.path().join("data/identity")).unwrap();
    register.lines().next().unwrap().trim_start_matches("identity ").to_owned()
}

fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = entityd::cli::selftest::server::files(folder)
        .into_iter()
        .filter(|path| !path.ends_with("mark") && !path.parent().unwrap().ends_with("objects/entityd"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_second_server_on_the_same_objects_is_refused_and_touches_nothing_until_it_takes_them_over() {
    let shared = TempDir::new().unwrap();
    let url = format!("file://{}", shared.path().display());
    let flags = ["--objects", &url, "--lease-ms", "1000"];
    let mut first = Entityd::with(&flags);
    let project = first.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    eventually("the upload is indexed", async || {
        files(shared.path()).iter().any(|(path, _)| path.ends_with("index")).then_some(())
    })
    .await;
    fs::write(shared.path().join("spool/staged-aB3xYz"), "arriving").unwrap();
    fs::write(shared.path().join("spool/letter.txt"), "dear").unwrap();
    let before = files(shared.path());
    assert!(before.len() > 2);

    let second = TempDir::new().unwrap();
    let said = refusal_with(&second, &[("ENTITYD_OBJECTS", &url)]).await;
    let owner = fs::read_to_string(shared.path().join("objects/entityd/owner")).unwrap();
    let owner: serde_json::Value = serde_json::from_str(&owner).unwrap();
    let owner = owner["identity"].as_str().unwrap();
    assert!(said.contains(owner) && said.contains(&identity(&second)), "{said}");
    assert!(said.contains(&format!("--take-over-objects {owner}")), "{said}");
    assert_eq!(files(shared.path()), before);

    let taking = [&flags[..], &["--take-over-objects", owner]].concat();
    let second = Entityd::in_folder(second, &taking);
    eventually("the first stops", async || first.has_ended().then_some(())).await;
    let log = first.log();
    assert!(log.lines().last().unwrap().contains("--take-over-objects"), "{log}");
    eventually("the second has cleaned up", async || second.log().contains("which are kept").then_some(()))
        .await;
    let (_, folder) = second.stop();
    // The second server has removed the unfinished upload of the first.
    let kept: Vec<_> = before.iter().filter(|(path, _)| !path.ends_with("staged-aB3xYz")).cloned().collect();
    assert_eq!(files(shared.path()), kept);
    // The next start does not need the flag.
    let again = Entityd::in_folder(folder, &flags);
    assert_eq!(again.api().project("groups").await.update_tokens.len(), 2);
}

#[tokio::test]
async fn a_copy_of_a_data_directory_waits_for_the_original_to_end() {
    let shared = TempDir::new().unwrap();
    let url = format!("file://{}", shared.path().display());
    let original = Entityd::with(&["--objects", &url, "--lease-ms", "3000"]);
    let copied = TempDir::new().unwrap();
    copy(&original.data_dir(), &copied.path().join("data"));
    let nonces = original.data_dir().join("objects.lease");
    let then = fs::read(&nonces).unwrap();
    // The copy holds the last two nonces of the lease: after two renewals, neither is current.
    for _ in 0..2 {
        let before = fs::read(&nonces).unwrap();
        eventually("the lease is renewed", async || (fs::read(&nonces).unwrap() != before).then_some(()))
            .await;
    }
    assert_ne!(fs::read(&nonces).unwrap(), then);
    let said = refusal_with(&copied, &[("ENTITYD_OBJECTS", &url)]).await;
    assert!(said.contains("one of the two is a copy"), "{said}");
    // After a kill, the original starts again at once. After a clean stop, the copy could start, but it lacks commits.
    let original = Entityd::in_folder(original.kill(), &["--objects", &url]);
    original.stop();
    let said = refusal_with(&copied, &[("ENTITYD_OBJECTS", &url)]).await;
    let (_, loss) = said.split_once("--accept-loss metadata.db:").expect(&said);
    let commits: String = loss.chars().take_while(char::is_ascii_digit).collect();
    let accepted = format!("metadata.db:{commits}");
    let copy = Entityd::in_folder(copied, &["--objects", &url, "--accept-loss", &accepted]);
    assert_eq!(copy.api().project("groups").await.update_tokens.len(), 2);
}

#[tokio::test]
async fn objects_that_are_not_mounted_yet_are_reported_at_the_start() {
    let (project, folder) = used().await;
    let objects = folder.path().join("data/objects");
    let aside = folder.path().join("unmounted");
    fs::rename(&objects, &aside).unwrap();
    fs::create_dir(&objects).unwrap();
    let said = refusal(&folder).await;
    assert!(said.contains("is the right volume mounted") && said.contains(&identity(&folder)), "{said}");
    fs::remove_dir_all(&objects).unwrap();
    fs::rename(&aside, &objects).unwrap();
    let server = Entityd::in_folder(folder, &[]);
    assert_eq!(server.api().get(&project.path, &project.result_token).await.status(), 200);
}
