//! Data directories of earlier versions: this version opens them and continues their runs.
//!
//! Each archive `tests/fixtures/stored/*.tar.gz` was made by `make.py` in the same folder, with the binary of its time.
//! Every later version must open all of them. A change of a stored format adds an archive made by the version before
//! the change, and replaces none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use entityd::objects::{Kind, S3Access, connect};
use object_store::ObjectStoreExt;
use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};
use crate::data_dir::complaint;
use crate::support::{Api, Entityd, Project, text};

fn archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stored");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect()
}

/// Unpacks an archive into a new folder. Returns the folder and the expected answers.
fn unpacked(archive: &Path) -> (TempDir, Value) {
    let folder = TempDir::new().unwrap();
    let tar = Command::new("tar").args(["-xzf"]).arg(archive).arg("-C").arg(folder.path()).status();
    assert!(tar.unwrap().success());
    let answers = std::fs::read(folder.path().join("answers.json")).unwrap();
    (folder, serde_json::from_slice(&answers).unwrap())
}

#[tokio::test]
async fn data_of_earlier_versions_opens_and_its_runs_continue() {
    let archives = archives();
    assert!(!archives.is_empty());
    for archive in archives {
        let (folder, answers) = unpacked(&archive);
        let mut server = Entityd::in_folder(folder, &[]);
        // The second round repeats the checks after a clean stop.
        for _ in 0..2 {
            let finished = answers["projects"].as_array().unwrap().iter();
            for known in finished.chain([&answers["running"]]) {
                assert_results(&server.api(), known).await;
            }
            assert_objects(&server, &answers).await;
            let deleted = &answers["deleted"];
            let answer = server.api().get(&text(&deleted["path"]), &text(&deleted["token"])).await;
            assert_eq!(answer.status(), 403);
            let (ended, folder) = server.stop();
            assert!(ended.success());
            server = Entityd::in_folder(folder, &[]);
        }
        assert_completes(&server.api(), &answers["waiting"]).await;
        assert!(!server.log().contains("ERROR"), "{}", server.log());
    }
}

fn project(api: &Api, known: &Value) -> Project {
    let [path, result_token] = ["path", "token"].map(|name| text(&known[name]));
    Project { api: api.clone(), path, result_token, update_tokens: Vec::new() }
}

/// Asserts that the run completes, and that every token reads its known result.
async fn assert_results(api: &Api, known: &Value) {
    let project = project(api, known);
    let run = project.known_run(text(&known["run"]));
    assert_eq!(run.ended().await["state"], "completed");
    for seen in known["results"].as_array().unwrap() {
        let found: Value = run.result(&text(&seen[0])).await.json().await.unwrap();
        assert_eq!(found, seen[1]);
    }
}

/// Uploads the missing party's data with its old token, and asserts that a run has the known result.
async fn assert_completes(api: &Api, known: &Value) {
    let mut project = project(api, known);
    project.update_tokens = vec![text(&known["update_token"])];
    assert_eq!(project.post_clks(0, &known["upload"]).await.status(), 201);
    let run = project.run(known["threshold"].as_f64().unwrap()).await;
    assert_eq!(run.ended().await["state"], "completed");
    let found: Value = run.result(&project.result_token).await.json().await.unwrap();
    assert_eq!(found, known["result"]);
}

async fn assert_objects(server: &Entityd, answers: &Value) {
    let [key, secret] = [0, 1].map(|at| text(&answers["credentials"][at]));
    let access = S3Access {
        endpoint: Some(format!("http://{}", server.doors().s3)),
        region: Some("us-east-1".to_owned()),
        virtual_hosted: false,
        keys: Some((key, secret.into())),
    };
    let bucket = text(&answers["bucket"]);
    let store = connect(Kind::S3, &bucket, "", &access, Duration::from_secs(20)).unwrap();
    for (key, body) in answers["objects"].as_object().unwrap() {
        let found = store.get(&key.as_str().into()).await.unwrap().bytes().await.unwrap();
        assert_eq!(hex::encode(found), text(body), "{key}");
    }
    assert!(store.get(&"deleted".into()).await.is_err());
}

/// Runs `entityd migrate ACTION --json`, and returns the databases in its output.
fn migrate(action: &str, data_dir: &Path) -> Vec<Value> {
    let done = Command::new(env!("CARGO_BIN_EXE_entityd"))
        .args(["migrate", action, "--json", "--data-dir"])
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    answer["databases"].as_array().unwrap().clone()
}

#[test]
fn a_migration_is_planned_made_after_a_snapshot_and_can_be_taken_back() {
    for archive in archives() {
        let (folder, _) = unpacked(&archive);
        let data_dir = folder.path().join("data");
        let (database, before) =
            (data_dir.join("metadata.db"), std::fs::read(data_dir.join("metadata.db")).unwrap());
        let planned = migrate("plan", &data_dir)[0].clone();
        let [found, known] = ["version", "known"].map(|name| planned[name].as_u64().unwrap());
        if found == known {
            // Another format has changed since it was made.
            continue;
        }
        let steps = planned["steps"].as_array().unwrap();
        assert_eq!(steps.len() as u64, known - found);
        assert!(
            steps.iter().all(|step| step["description"].as_str().is_some_and(|text| text.ends_with('.')))
        );
        assert_eq!(std::fs::read(&database).unwrap(), before, "plan changes nothing");
        let refused = complaint(&["env", "ENTITYD_MIGRATE=never"], &data_dir);
        assert!(refused.contains("entityd migrate apply"), "{refused}");

        assert_eq!(migrate("apply", &data_dir)[0]["version"], found);
        let status = migrate("status", &data_dir)[0].clone();
        assert_eq!(status["version"], known);
        let snapshot = PathBuf::from(text(&planned["snapshot"]));
        assert_eq!(status["snapshots"], serde_json::json!([snapshot]));
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&snapshot).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        std::fs::rename(&snapshot, &database).unwrap();
        assert_eq!(migrate("status", &data_dir)[0]["version"], found);
        assert_eq!(migrate("apply", &data_dir)[0]["version"], found);
    }
}

#[test]
fn a_misspelt_data_directory_is_refused_by_a_migration_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("dta");
    for action in ["status", "plan", "apply"] {
        let mut command = entityd();
        let done = command.args(["migrate", action, "--data-dir"]).arg(&data_dir).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{action}");
        assert!(stderr(&done).ends_with("dta: there is no such directory\n"), "{}", stderr(&done));
    }
    assert!(!data_dir.exists());
}

#[test]
fn data_of_a_newer_version_is_refused_by_version_and_unchanged() {
    for name in ["metadata.db", "buckets.db", "format"] {
        let (_, folder) = Entityd::start().stop();
        let data_dir = folder.path().join("data");
        let path = data_dir.join(name);
        let known = if name == "format" {
            let known: i64 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
            std::fs::write(&path, format!("{}\n", known + 1)).unwrap();
            known
        } else {
            let database = rusqlite::Connection::open(&path).unwrap();
            let known: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            database.pragma_update(None, "user_version", known + 1).unwrap();
            known
        };
        std::fs::write(data_dir.join("version"), "9.8.7\n").unwrap();
        let before = std::fs::read(&path).unwrap();
        let said = complaint(&["env"], &data_dir);
        for version in [known, known + 1] {
            assert!(said.contains(&version.to_string()), "{name}: {said}");
        }
        assert!(said.contains("entityd 9.8.7 used this data directory last"), "{name}: {said}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{name}");
    }
}
