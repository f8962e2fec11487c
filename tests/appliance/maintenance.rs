//! Maintenance removes leftover data without an operator.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::support::{ENCODING, Entityd, Project, eventually, text};

const OFTEN: [&str; 2] = ["--maintenance-every-ms", "1000"];

async fn completed(server: &Entityd) -> Project {
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    project
}

fn stray(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "other").unwrap();
}

/// Records in the metadata that the project, run or upload with this identifier was deleted.
pub(crate) fn bury(data_dir: &Path, id: &str) {
    let metadata = rusqlite::Connection::open(data_dir.join("metadata.db")).unwrap();
    let digest = Sha256::digest(hex::decode(id).unwrap());
    metadata.execute("INSERT INTO deleted (digest, late) VALUES (?1, 0)", [digest.as_slice()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_objects_are_swept_and_unknown_ones_stay() {
    let server = Entityd::with(&OFTEN);
    let project = completed(&server).await;
    eventually("plan and pairs are gone", async || (server.payload_files().len() == 5).then_some(())).await;
    let (run, other) = ("0f".repeat(24), "0e".repeat(24));
    let (_, data) = server.stop();
    bury(&data.path().join("data"), &run);
    bury(&data.path().join("data"), &other);
    let id = project.path.trim_start_matches("/projects/");
    bury(&data.path().join("data"), &format!("{id}{:08x}{:08x}", 1, 0));
    let server = Entityd::in_folder(data, &OFTEN);
    let project = Project { api: server.api(), ..project };
    let projects = server.data_dir().join("objects/projects");
    let folder = server.data_dir().join("objects").join(project.path.trim_start_matches('/'));
    let unknown = "0c".repeat(24);
    stray(&folder.join("runs").join(&unknown).join("pairs/0"));
    stray(&folder.join("parties/1/7/matrix"));
    stray(&projects.join(&unknown).join("parties/0/1/matrix"));
    let kept = server.payload_files();
    stray(&folder.join("runs").join(&run).join("pairs/0"));
    stray(&folder.join("parties/1/0/matrix"));
    stray(&projects.join(&other).join("parties/0/1/matrix"));
    let stale = server.data_dir().join("spool/staged-aB3old");
    stray(&stale);
    let old = File::options().write(true).open(&stale).unwrap();
    old.set_modified(fs::metadata(&stale).unwrap().modified().unwrap() - Duration::from_hours(25)).unwrap();
    eventually("strays are gone", async || (server.payload_files() == kept).then_some(())).await;
    let log = server.log();
    assert!(log.contains("which are kept") && log.contains("objects removed"), "{log}");
    let run = text(
        &project
            .api
            .get(&format!("{}/runs", project.path), &project.result_token)
            .await
            .json::<serde_json::Value>()
            .await
            .unwrap()[0]["run_id"],
    );
    let run = project.known_run(format!("{}/runs/{run}", project.path));
    assert_eq!(run.result(&project.result_token).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_written_after_a_purge_is_removed_within_a_lease() {
    let server = Entityd::with(&["--lease-ms", "5000"]);
    let project = completed(&server).await;
    project.api.delete(&project.path, &project.result_token).await;
    eventually("the project is purged", async || server.payload_files().is_empty().then_some(())).await;
    let late = server.data_dir().join("objects").join(project.path.trim_start_matches('/'));
    stray(&late.join("runs").join("0f".repeat(24)).join("pairs/0"));
    eventually("so is the late object", async || server.payload_files().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_ended_long_ago_is_deleted_if_so_configured() {
    let server = Entityd::start();
    let (old, young) = (completed(&server).await, completed(&server).await);
    let (_, folder) = server.stop();
    let metadata = rusqlite::Connection::open(folder.path().join("data/metadata.db")).unwrap();
    let id = hex::decode(old.path.rsplit('/').next().unwrap()).unwrap();
    let two_days = 2 * 24 * 3_600_000_000_i64;
    metadata.execute("UPDATE projects SET added = added - ?1 WHERE id = ?2", (two_days, &id)).unwrap();
    let ended = "UPDATE runs SET ended = ended - ?1, settled = settled - ?1 WHERE project = ?2";
    metadata.execute(ended, (two_days, &id)).unwrap();
    drop(metadata);
    let server = Entityd::in_folder(folder, &["--retention-days", "1", OFTEN[0], OFTEN[1]]);
    let api = server.api();
    eventually("the old project is gone", async || {
        (api.get(&old.path, &old.result_token).await.status() == 403).then_some(())
    })
    .await;
    assert_eq!(api.get(&young.path, &young.result_token).await.status(), 200);
}
