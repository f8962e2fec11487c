//! No trace of deleted data is left in the content or in the names of files in the data directory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Entityd, Project, eventually, refused, text};

/// Maintenance every second, and a short lease: a project is purged for the second time one lease after the first.
const OFTEN: [&str; 4] = ["--maintenance-every-ms", "1000", "--lease-ms", "1000"];

/// Byte strings that must not be found, each with a name.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    /// Adds a text.
    fn text(&mut self, name: &str, text: &str) {
        self.0.push((name.to_owned(), text.as_bytes().to_vec()));
    }

    /// Adds an identifier, in hex and as bytes.
    fn id(&mut self, name: &str, id: &str) {
        self.text(name, id);
        self.0.push((format!("{name} in bytes"), hex::decode(id).unwrap()));
    }

    /// Adds a token and its hash, each in hex and as bytes.
    fn token(&mut self, name: &str, token: &str) {
        self.id(name, token);
        self.id(&format!("the hash of {name}"), &hex::encode(sha256(token)));
    }

    /// Returns the secrets that occur in the content or the name of a file below `folder`.
    fn found(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in everything(folder) {
            // A file that cannot be read has been deleted.
            let content = fs::read(&path).unwrap_or_default();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            for (secret, bytes) in &self.0 {
                if memchr::memmem::find(&content, bytes).is_some()
                    || memchr::memmem::find(name.as_bytes(), bytes).is_some()
                {
                    found.push(format!("{secret} in {name}"));
                }
            }
        }
        found
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Returns the paths of all files and directories below a folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| {
            let below = everything(&path);
            std::iter::once(path).chain(below)
        })
        .collect()
}

/// Returns a project with two completed runs, and all its secrets and identifiers. `word` is part of its texts.
async fn told_of(server: &Entityd, word: &str) -> (Project, Secrets) {
    let body = json!({
        "name": format!("name-{word}"), "notes": format!("notes-{word}"),
        "schema": {"secret": format!("schema-{word}")}, "result_type": "permutations",
    });
    let project = server.api().create(body).await;
    let mut secrets = Secrets(Vec::new());
    secrets.text("name, notes or schema", &format!("-{word}"));
    secrets.id("the project", project.path.rsplit('/').next().unwrap());
    secrets.token("the result token", &project.result_token);
    let mut encodings = Vec::new();
    for (party, token) in project.update_tokens.iter().enumerate() {
        secrets.token("an update token", token);
        let encoding: [u8; 24] = sha256(token)[..24].try_into().unwrap();
        secrets.id("an encoding", &hex::encode(encoding));
        encodings.push(encoding);
        let upload = project.binary(party, 3).body(encoding.to_vec());
        let receipt: Value = upload.send().await.unwrap().json().await.unwrap();
        secrets.token("a receipt token", &text(&receipt["receipt_token"]));
    }
    for _ in 0..2 {
        let run = project.run(0.9).await;
        secrets.id("a run", run.path.rsplit('/').next().unwrap());
        assert_eq!(run.ended().await["state"], "completed");
    }
    (project, secrets)
}

/// A tmpfs that is unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Returns `None` where this process may not mount.
    fn at(folder: &Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(folder).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Deletes a project and waits until no trace of it is left in `folders`.
async fn deletion_leaves_nothing(server: &Entityd, folders: &[&Path]) {
    let (gone, secrets) = told_of(server, "a-project-that-goes").await;
    assert_eq!(gone.api.delete(&gone.path, &gone.result_token).await.status(), 204);
    eventually("no trace of it is left", async || {
        folders.iter().all(|folder| secrets.found(folder).is_empty()).then_some(())
    })
    .await;
    assert!(!server.log().contains("cannot rewrite the queue"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_behind_a_symlink_is_rewritten_in_place() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (data, target) = (folder.path().join("data"), elsewhere.path().join("queue"));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir(&target).unwrap();
    symlink(&target, data.join("queue")).unwrap();
    let server = Entityd::in_folder(folder, &OFTEN);
    deletion_leaves_nothing(&server, &[&data, elsewhere.path()]).await;
    assert_eq!(fs::read_link(data.join("queue")).unwrap(), target);
    assert!(target.join("identity").exists(), "its successor has no identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_a_mount_point_is_rewritten_inside() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("queue")).unwrap();
    let Some(mounted) = Mounted::at(&data.join("queue")) else {
        let _ = io::stderr().write_all(b"skipped: this process may not mount a file system\n");
        return;
    };
    let server = Entityd::in_folder(folder, &OFTEN);
    deletion_leaves_nothing(&server, &[&data]).await;
    let (_, folder) = server.stop();
    let server = Entityd::in_folder(folder, &OFTEN);
    deletion_leaves_nothing(&server, &[&data]).await;
    assert!(data.join("queue/store/conf").exists() && data.join("queue/identity").exists());
    server.stop();
    drop(mounted);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_project_erases_every_byte_at_the_next_maintenance() {
    let server = Entityd::with(&OFTEN);
    let (kept, kept_secrets) = told_of(&server, "a-project-that-stays").await;
    // From here on, the queue holds jobs of this project and of the project that is kept.
    let (gone, mut secrets) = told_of(&server, "a-project-that-goes").await;
    let (_, folder) = server.stop();
    let server = Entityd::in_folder(folder, &OFTEN);
    let gone = Project { api: server.api(), ..gone };
    let run = gone.run(0.8).await;
    secrets.id("a run", run.path.rsplit('/').next().unwrap());
    run.ended().await;
    let data_dir = server.data_dir();
    assert!(!secrets.found(&data_dir).is_empty());
    assert_eq!(gone.api.delete(&run.path, &gone.result_token).await.status(), 204);
    assert_eq!(gone.api.delete(&gone.path, &gone.result_token).await.status(), 204);
    let mut left = Vec::new();
    for _ in 0..2_400 {
        left = secrets.found(&data_dir);
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(left.is_empty(), "{left:#?}");
    refused(gone.api.get(&gone.path, &gone.result_token).await, 403).await;
    // After a restart, the other project still exists, and no trace of the deleted one does.
    let (status, folder) = server.stop();
    assert!(status.success());
    let server = Entityd::in_folder(folder, &OFTEN);
    assert!(secrets.found(&server.data_dir()).is_empty());
    assert!(!kept_secrets.found(&server.data_dir()).is_empty());
    let kept = Project { api: server.api(), ..kept };
    assert_eq!(kept.describe().await["parties_contributed"], 2);
    let run = kept.run(0.7).await;
    assert_eq!(run.ended().await["state"], "completed");
    assert!(!server.log().contains("cannot rewrite the queue"), "{}", server.log());
}
