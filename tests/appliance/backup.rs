//! Backups of running and stopped servers, and restores from them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entityd::cli::selftest::server::files;
use rand_core::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};
use crate::kills::chance;
use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, text};

fn backup(server: &Entityd, token: &str, to: &Path, flags: &[&str]) -> Command {
    let mut command = entityd();
    command.args(["backup", "--json", "--server", &format!("http://{}", server.doors().ops), "--to"]);
    command.arg(to).args(flags).env("ENTITYD_ADMIN_TOKEN", token);
    command
}

fn run(words: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = entityd();
    command.args(words);
    for (flag, path) in paths {
        if !flag.is_empty() {
            command.arg(flag);
        }
        command.arg(path);
    }
    command.output().unwrap()
}

fn verify(from: &Path) -> Output {
    run(&["backup", "verify", "--json"], &[("", from)])
}

fn restore(from: &Path, into: &Path, flags: &[&str]) -> Output {
    let words: Vec<&str> = ["restore", "--json"].iter().chain(flags).copied().collect();
    run(&words, &[("", from), ("--into", into)])
}

/// Asserts that a command has succeeded, and returns the JSON that it printed.
fn said(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that a command has failed with this exit code, and returns its error line, which follows the progress.
fn refusal(output: &Output, code: i32) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("entityd: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_owned()
}

/// Returns a project of result type `kind` with a completed run, and the run's path and result.
async fn completed(server: &Entityd, kind: &str) -> (Project, String, String) {
    let project = server.api().project(kind).await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[OTHER_ENCODING, ENCODING]).await;
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let result = run.result(&project.result_token).await.text().await.unwrap();
    let path = run.path.clone();
    (project, path, result)
}

async fn project_status(server: &Entityd, project: &Project) -> u16 {
    server.api().get(&project.path, &project.result_token).await.status().as_u16()
}

/// Restores a backup into a new data directory, and starts a server on it.
fn restored(from: &Path, flags: &[&str]) -> Entityd {
    let folder = TempDir::new().unwrap();
    said(&restore(from, &folder.path().join("data"), flags));
    Entityd::in_folder(folder, &[])
}

fn files_of(manifest: &Path) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    manifest["entries"].as_array().unwrap().iter().map(|entry| text(&entry["path"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_restores_and_copies_nothing_twice() {
    let server = Entityd::start();
    let (token, to) = (server.admin_token().unwrap(), TempDir::new().unwrap());
    let to = to.path().join("backups");
    let (groups, path, result) = completed(&server, "groups").await;
    let (masked, _, _) = completed(&server, "permutations").await;
    let first = said(&backup(&server, &token, &to, &[]).output().unwrap());
    assert_eq!(first["copied"], first["files"]);
    assert_eq!(said(&verify(&to))["projects"], 2);

    assert_eq!(server.api().delete(&masked.path, &masked.result_token).await.status(), 204);
    let masked_id = masked.path.rsplit('/').next().unwrap();
    let objects = server.data_dir().join("objects");
    let is_left = |file: &PathBuf| file.to_str().unwrap().contains(masked_id);
    eventually("the objects are removed", async || (!files(&objects).iter().any(is_left)).then_some(()))
        .await;
    let second = said(&backup(&server, &token, &to, &[]).output().unwrap());
    // Only files that may change are copied again: databases, markers, format, identity and owner.
    assert!(second["copied"].as_u64().unwrap() <= 9, "{second}");
    let listed = files_of(&to.join(format!("backups/{}.json", text(&second["backup"]))));
    assert!(!listed.iter().any(|path| path.contains(masked_id)), "a deleted project is in the backup");
    assert!(!server.data_dir().join("objects/entityd/snapshot-being-read").exists());
    for (name, file) in listed.iter().map(|path| (path, server.data_dir().join(path))) {
        assert!(file.exists(), "{name}");
    }
    for secret in ["admin-token", "s3-credentials"] {
        assert!(!listed.contains(secret), "{secret}");
    }

    let later = restored(&to, &[]);
    assert_eq!(project_status(&later, &groups).await, 200);
    assert_eq!(project_status(&later, &masked).await, 403);
    let again = later.api().get(&format!("{path}/result"), &groups.result_token).await;
    assert_eq!(again.text().await.unwrap(), result);
    assert!(later.admin_token().is_some(), "the token was not copied");
    let (runs, body) = (format!("{}/runs", groups.path), serde_json::json!({"threshold": 0.8}));
    let run = later.api().post(&runs, &groups.result_token, &body).await;
    assert_eq!(run.status(), 201);
    assert!(!later.log().contains("ERROR"), "{}", later.log());

    let earlier = restored(&to, &["--backup", &text(&first["backup"])]);
    assert_eq!(project_status(&earlier, &masked).await, 200);
    drop(groups);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_backed_up_into_one_file_with_its_keys_if_asked() {
    let server = Entityd::start();
    let (token, data) = (server.admin_token().unwrap(), server.data_dir());
    let (project, path, result) = completed(&server, "groups").await;
    let to = TempDir::new().unwrap();
    let tar = to.path().join("one.tar");
    let make = |flags: &[&str]| {
        run(&[&["backup", "--json"], flags].concat(), &[("--data-dir", &data), ("--to", &tar)])
    };
    assert!(refusal(&make(&[]), 1).contains("is in use by process"));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    // After a kill, some changes are only in the write-ahead log.
    let folder = server.kill();
    let data = folder.path().join("data");
    let [passphrase, wrong] = ["passphrase", "wrong"].map(|name| to.path().join(name));
    fs::write(&passphrase, "correct horse\n").unwrap();
    fs::write(&wrong, "incorrect horse\n").unwrap();
    let keyed = |words: &[&str], passphrase: &Path| {
        let output = entityd().args(words).arg("--keys-passphrase-file").arg(passphrase).output();
        output.unwrap()
    };
    let [data_text, tar_text] = [&data, &tar].map(|path| path.to_str().unwrap());
    let making = ["backup", "--json", "--data-dir", data_text, "--to", tar_text];
    let made = said(&keyed(&making, &passphrase));
    assert_eq!(made["keys_left_out"], serde_json::json!([]));
    let keys = ["admin-token", "s3-credentials"];
    assert_eq!(made["keys_encrypted"], serde_json::json!(keys));
    let secret = fs::read_to_string(data.join("s3-credentials")).unwrap();
    let secret = secret.split_whitespace().last().unwrap().as_bytes();
    assert!(!fs::read(&tar).unwrap().windows(secret.len()).any(|window| window == secret));
    assert_eq!(said(&verify(&tar))["root"], made["root"]);
    let verifying = ["backup", "verify", tar_text, "--json"];
    said(&keyed(&verifying, &passphrase));
    let line = refusal(&keyed(&verifying, &wrong), 2);
    assert!(line.contains("this is not the passphrase of the backup"), "{line}");
    let bare = to.path().join("bare");
    let restoring = ["restore", tar_text, "--into", bare.to_str().unwrap()];
    assert!(refusal(&keyed(&restoring, &wrong), 2).contains("this is not the passphrase"));
    assert!(!bare.exists());
    let without = entityd().args(restoring).output().unwrap();
    assert!(
        String::from_utf8(without.stdout)
            .unwrap()
            .contains("with encrypted keys: admin-token, s3-credentials; ")
    );
    assert!(keys.iter().all(|key| !bare.join(key).exists()));
    let later = restored(&tar, &["--keys-passphrase-file", passphrase.to_str().unwrap()]);
    assert_eq!(later.admin_token(), None, "the token is the old one");
    let stats = reqwest::Client::new().get(format!("http://{}/admin/queue", later.doors().ops));
    assert_eq!(stats.bearer_auth(&token).send().await.unwrap().status(), 200);
    let again = later.api().get(&format!("{path}/result"), &project.result_token).await;
    assert_eq!(again.text().await.unwrap(), result);
    for file in files(&later.data_dir()) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
    }
    // A second backup of the same directory succeeds, and none of them leaves files in it.
    said(&run(&["backup", "--json"], &[("--data-dir", &data), ("--to", &tar)]));
    assert!(!data.join("objects/entityd/snapshot-being-read").exists());
    assert!(refusal(&keyed(&verifying, &passphrase), 2).contains("has no encrypted keys"));
    fs::remove_file(data.join("metadata.db")).unwrap();
    let empty = to.path().join("empty");
    let refused = run(&["backup"], &[("--data-dir", &data), ("--to", &empty)]);
    assert!(refusal(&refused, 1).contains("cannot copy metadata.db: it is missing"));
    assert!(!empty.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_server_holds_backups() {
    let server = Entityd::start();
    let (project, ..) = completed(&server, "groups").await;
    let token = server.admin_token().unwrap();
    let store = Entityd::start();
    let keys = fs::read_to_string(store.data_dir().join("s3-credentials")).unwrap();
    let keys: Vec<&str> = keys.split_whitespace().collect();
    let endpoint = format!("http://{}", store.doors().s3);
    let to = Path::new("s3://uploads/backups/here");
    let with_keys = |mut command: Command| {
        let variables = [
            ("AWS_ACCESS_KEY_ID", keys[0]),
            ("AWS_SECRET_ACCESS_KEY", keys[1]),
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
        ];
        command.envs(variables).output().unwrap()
    };
    said(&with_keys(backup(&server, &token, to, &[])));
    let second = said(&with_keys(backup(&server, &token, to, &[])));
    assert!(second["copied"].as_u64().unwrap() <= 9, "{second}");
    let words = |words: &[&str]| {
        let mut command = entityd();
        command.args(words);
        with_keys(command)
    };
    let place = to.to_str().unwrap();
    assert_eq!(said(&words(&["backup", "inspect", place, "--json"]))["backups"].as_array().unwrap().len(), 2);
    said(&words(&["backup", "verify", place, "--json"]));
    let folder = TempDir::new().unwrap();
    let into = folder.path().join("data");
    said(&words(&["restore", place, "--json", "--into", into.to_str().unwrap()]));
    let later = Entityd::in_folder(folder, &[]);
    assert_eq!(project_status(&later, &project).await, 200);
}

/// Returns the files in a folder, with their content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files(folder);
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_naming_the_entry_and_leaves_nothing() {
    let server = Entityd::start();
    let (_project, ..) = completed(&server, "groups").await;
    let (token, place) = (server.admin_token().unwrap(), TempDir::new().unwrap());
    let [shelf, tar, into] = ["shelf", "one.tar", "into"].map(|name| place.path().join(name));
    let made = said(&backup(&server, &token, &shelf, &[]).output().unwrap());
    said(&backup(&server, &token, &tar, &[]).output().unwrap());
    drop(server);
    let manifest = shelf.join(format!("backups/{}.json", text(&made["backup"])));
    let listed: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let entries = listed["entries"].as_array().unwrap();
    let matrix = entries.iter().find(|entry| text(&entry["path"]).ends_with("/matrix")).unwrap();
    let (path, hash) = (text(&matrix["path"]), text(&matrix["sha256"]));
    let blob = shelf.join(format!("blobs/{}/{hash}", &hash[..2]));
    let whole = fs::read(&blob).unwrap();
    let refused = |why: &str, from: &Path| {
        for output in [restore(from, &into, &[]), verify(from)] {
            let line = refusal(&output, 3);
            assert!(line.contains(why), "{line}");
            assert!(!into.exists());
        }
    };
    let damages: [(&str, &dyn Fn()); 3] = [
        ("its SHA-256 does not match", &|| {
            fs::File::options().write(true).open(&blob).unwrap().write_all_at(b"!", 3).unwrap();
        }),
        ("it has 3 of", &|| fs::write(&blob, &whole[..3]).unwrap()),
        ("is missing", &|| fs::remove_file(&blob).unwrap()),
    ];
    for (why, damage) in damages {
        damage();
        refused(why, &shelf);
        if why != "is missing" {
            refused(&format!("at the entry {path}"), &shelf);
        }
        fs::write(&blob, &whole).unwrap();
    }
    let sealed = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, sealed.replacen("\"bytes\":", "\"bytes\":1", 1)).unwrap();
    refused("its root hash does not match its content", &shelf);
    fs::write(&manifest, sealed.replacen("\"format\":1", "\"format\":3", 1)).unwrap();
    refused("use a newer entityd", &shelf);
    fs::write(&manifest, &sealed).unwrap();
    said(&verify(&shelf));

    let archive = fs::read(&tar).unwrap();
    for share in [1, 3, 5, 7, 9] {
        fs::write(&tar, &archive[..archive.len() * share / 10]).unwrap();
        refused("is truncated or damaged at", &tar);
    }
    let at = archive.windows(path.len()).position(|bytes| bytes == path.as_bytes());
    let name = archive.windows(7).position(|bytes| bytes == b"/matrix").or(at).unwrap();
    let mut altered = archive.clone();
    // Changes a byte of the content, which follows the block with the name.
    altered[(name / 512 + 1) * 512 + 1] ^= 1;
    fs::write(&tar, altered).unwrap();
    refused("/matrix: its SHA-256 does not match", &tar);
    fs::write(&tar, &archive).unwrap();
    said(&verify(&tar));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_prints_one_line_and_changes_nothing() {
    let server = Entityd::start();
    let (token, place) = (server.admin_token().unwrap(), TempDir::new().unwrap());
    let [full, odd, file] = ["full", "odd", "file"].map(|name| place.path().join(name));
    let fine = place.path().join("fine");
    said(&backup(&server, &token, &fine, &[]).output().unwrap());
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("letter"), "dear").unwrap();
    fs::write(&file, "what").unwrap();
    let before = content(place.path());

    let away = |flags: &[&str], code, why: &str| {
        let output = backup(&server, &token, &full, flags).output().unwrap();
        let line = refusal(&output, code);
        assert!(line.contains(why), "{line}");
    };
    away(&["--data-dir", "/nowhere"], 2, "cannot be used with");
    away(&["--token-file", "/nowhere"], 2, "/nowhere");
    let wrong = backup(&server, "0123456789", &full, &[]).output().unwrap();
    assert!(refusal(&wrong, 2).contains("rejects this admin token"));
    let none = entityd().args(["backup", "--to"]).arg(&full).output().unwrap();
    assert!(refusal(&none, 2).contains("the admin token is missing"));
    let gone = entityd()
        .args(["backup", "--server", "http://127.0.0.1:1", "--to"])
        .arg(&full)
        .env("ENTITYD_ADMIN_TOKEN", &token)
        .output()
        .unwrap();
    assert!(refusal(&gone, 1).contains("no answer from"));
    let open = entityd()
        .args(["backup", "--server", "http://192.0.2.1:1", "--to"])
        .arg(&full)
        .arg("--keys-passphrase-file")
        .arg(&file)
        .env("ENTITYD_ADMIN_TOKEN", &token)
        .output()
        .unwrap();
    assert!(refusal(&open, 2).contains("the server sends the keys unencrypted"));
    let missing = entityd()
        .args(["restore", "x", "--into", "y", "--keys-passphrase-file", "/nowhere"])
        .output()
        .unwrap();
    assert!(refusal(&missing, 2).contains("/nowhere"));
    for (to, why) in [(&odd, "holds \"letter\""), (&file, "is a file")] {
        let output = backup(&server, &token, to, &[]).output().unwrap();
        assert!(refusal(&output, 2).contains(why));
    }
    let odd_place = backup(&server, &token, Path::new("ftp://there"), &[]).output().unwrap();
    assert!(refusal(&odd_place, 2).contains("give a directory"));
    let stopped = run(&["backup"], &[("--data-dir", &odd), ("--to", &full)]);
    assert!(refusal(&stopped, 2).contains("is not a data directory"));
    for (into, code, why) in [(&odd, 2, "is not empty"), (&file, 2, "is a file")] {
        assert!(refusal(&restore(&fine, into, &[]), code).contains(why));
        assert!(refusal(&restore(&fine, into, &["--dry-run"]), code).contains(why));
    }
    assert!(refusal(&restore(&odd, &full, &[]), 3).contains("holds no backup"));
    assert!(refusal(&restore(&fine, &full, &["--backup", "x"]), 3).contains("holds no backup x; it holds"));
    assert!(refusal(&restore(&file, &full, &[]), 3).contains("is not a complete backup"));
    assert!(refusal(&restore(Path::new("/nowhere"), &full, &[]), 1).contains("/nowhere"));
    let inner = fine.join("inner");
    assert!(refusal(&restore(&fine, &inner, &[]), 2).contains("is in the directory of backups"));
    let inner = backup(&server, &token, &inner, &[]).output().unwrap();
    assert!(refusal(&inner, 2).contains("is in the directory of backups"));
    let inner = server.data_dir().join("inner");
    assert!(refusal(&restore(&fine, &inner, &["--dry-run"]), 2).contains("is in the data directory"));
    for words in [&["backup", "--to", ""][..], &["backup", "verify", ""], &["restore", "", "--into", "x"]] {
        assert!(refusal(&run(words, &[]), 2).contains("a value is required"));
    }
    let odd_files = TempDir::new().unwrap();
    let [pipe, link] = ["pipe.tar", "link"].map(|name| odd_files.path().join(name));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refusal(&restore(&pipe, &full, &[]), 1).contains("is a named pipe"));
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for flags in [&[][..], &["--dry-run"]] {
        assert!(refusal(&restore(&fine, &link, flags), 2).contains("a link to a place that does not exist"));
    }
    assert_eq!(said(&restore(&fine, &full, &["--dry-run"]))["restored"], false);
    assert_eq!(content(place.path()), before);
    assert!(!full.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_a_read_only_one_are_named() {
    let server = Entityd::start();
    let (_project, ..) = completed(&server, "groups").await;
    let token = server.admin_token().unwrap();
    let on_small_disk = |options: &str, command: &str| {
        let script = format!("mount -t tmpfs -o {options} none /mnt && {command}");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script]);
        command.env("ENTITYD", env!("CARGO_BIN_EXE_entityd")).env("ENTITYD_ADMIN_TOKEN", &token);
        command.env("ENTITYD_OPS_SERVER", format!("http://{}", server.doors().ops));
        command.env_remove("TMPDIR").output().unwrap()
    };
    let probe = on_small_disk("size=1m", "true");
    if !probe.status.success() {
        return;
    }
    let script =
        "p=$ENTITYD; unset ENTITYD; $p backup --to /mnt/b; code=$?; find /mnt -type f >&2; exit $code";
    let full = on_small_disk("size=256k", script);
    let line = stderr(&full);
    assert_eq!(full.status.code(), Some(1), "{line}");
    assert!(line.contains("bytes are free at /mnt/b"), "{line}");
    assert!(!line.contains("/mnt/b/blobs"), "{line}");
    let read_only = on_small_disk("ro", script);
    assert_eq!(read_only.status.code(), Some(1));
    assert!(
        stderr(&read_only).contains("cannot use /mnt/b: Read-only file system"),
        "{}",
        stderr(&read_only)
    );
    let place = TempDir::new().unwrap();
    let shelf = place.path().join("shelf");
    said(&backup(&server, &token, &shelf, &[]).output().unwrap());
    let script = format!("p=$ENTITYD; unset ENTITYD; $p restore {} --into /mnt/r --dry-run", shelf.display());
    let dry = on_small_disk("ro", &script);
    assert!(refusal(&dry, 1).contains("Read-only file system"));
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_another_user_are_not_taken_for_absent() {
    let server = Entityd::start();
    let (token, place) = (server.admin_token().unwrap(), TempDir::new().unwrap());
    let shelf = place.path().join("shelf");
    said(&backup(&server, &token, &shelf, &[]).output().unwrap());
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let stranger = |words: &[&str], path: &Path| {
        let program = ["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_entityd")];
        Command::new("setpriv").args(program).args(words).arg(path).output().unwrap()
    };
    if !stranger(&["--version"], Path::new("")).status.success() {
        // Only root can become another user, who must be able to read the program.
        return;
    }
    for words in [&["backup", "inspect"][..], &["backup", "verify"], &["restore", "--into", "/nowhere"]] {
        let line = refusal(&stranger(words, &shelf), 1);
        assert!(line.contains("cannot use") && line.contains("belongs to user 0"), "{line}");
    }
    let (_, folder) = server.stop();
    let stopped = ["backup", "--to", "/tmp/entityd-never", "--data-dir"];
    let line = refusal(&stranger(&stopped, &folder.path().join("data")), 1);
    assert!(line.contains("format: permission denied"), "{line}");
    assert!(!Path::new("/tmp/entityd-never").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_a_backup_and_a_restore_are_complete_or_absent() {
    let kills = if std::env::var_os("TESTS_LONG").is_some() { 50 } else { 5 };
    let server = Entityd::start();
    let (project, ..) = completed(&server, "groups").await;
    for _ in 0..3 {
        completed(&server, "similarity_scores").await;
    }
    let (token, place, mut rng) = (server.admin_token().unwrap(), TempDir::new().unwrap(), chance());
    let [shelf, into] = ["shelf", "into"].map(|name| place.path().join(name));
    said(&backup(&server, &token, &shelf, &[]).output().unwrap());
    let started = entityd::runtime::clock::Stopwatch::start();
    said(&backup(&server, &token, &place.path().join("timed"), &[]).output().unwrap());
    let usual = started.elapsed();
    // Early moments are more frequent: later backups may take less time.
    let mut moment = || usual.mul_f64((f64::from(rng.next_u32()) / f64::from(u32::MAX)).powi(3));
    let (mut backups, mut absent) = (1, 0);
    for _ in 0..kills {
        let to = place.path().join("one.tar");
        for (target, is_file) in [(&shelf, false), (&to, true)] {
            let mut child = backup(&server, &token, target, &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(moment()).await;
            let _ = child.kill();
            child.wait().unwrap();
            if is_file {
                if to.exists() {
                    said(&verify(&to));
                    fs::remove_file(&to).unwrap();
                } else {
                    absent += 1;
                }
            }
            // The next backup waits until the server has noticed that the client was killed.
            let held = server.data_dir().join("objects/entityd/snapshot-being-read");
            said(&backup(&server, &token, &place.path().join("free"), &[]).output().unwrap());
            assert!(!held.exists());
        }
        let inspected = said(&run(&["backup", "inspect", "--json"], &[("", &shelf)]));
        let count = inspected["backups"].as_array().unwrap().len();
        assert!(count == backups || count == backups + 1, "{inspected}");
        backups = count;
        said(&verify(&shelf));

        let mut command = entityd();
        command
            .arg("restore")
            .arg(&shelf)
            .arg("--into")
            .arg(&into)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(moment()).await;
        let _ = child.kill();
        child.wait().unwrap();
        if !into.join("format").exists() {
            absent += 1;
            said(&restore(&shelf, &into, &[]));
        }
        assert!(!into.join("restoring").exists());
        assert!(refusal(&restore(&shelf, &into, &[]), 2).contains("is a data directory already"));
        let folder = TempDir::new().unwrap();
        fs::rename(&into, folder.path().join("data")).unwrap();
        let later = Entityd::in_folder(folder, &[]);
        assert_eq!(project_status(&later, &project).await, 200);
    }
    assert!(absent > 0, "every kill came too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_runs_and_deletions_is_complete() {
    let server = Entityd::with(&["--comparisons-per-job", "1"]);
    let (token, place) = (server.admin_token().unwrap(), TempDir::new().unwrap());
    let over = AtomicBool::new(false);
    let busy = async |kind: &str, deletes: bool| {
        while !over.load(Ordering::Relaxed) {
            let (project, ..) = completed(&server, kind).await;
            if deletes {
                server.api().delete(&project.path, &project.result_token).await;
            }
        }
    };
    let shelf = place.path().join("shelf");
    let aside = async |mut command: Command| {
        said(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    };
    let backups = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            aside(backup(&server, &token, &shelf, &[])).await;
            let mut verify = entityd();
            verify.args(["backup", "verify", "--json"]).arg(&shelf);
            aside(verify).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(backups, busy("groups", true), busy("permutations", true), busy("similarity_scores", false));
    for backup in said(&run(&["backup", "inspect", "--json"], &[("", &shelf)]))["backups"].as_array().unwrap()
    {
        let later = restored(&shelf, &["--backup", &text(backup)]);
        eventually("the jobs of the backup have ended", async || (jobs(&later).await == 0).then_some(()))
            .await;
        let log = later.log();
        assert!(!log.contains("run failed") && !log.contains("ERROR"), "{log}");
    }
}

/// Returns the number of jobs that can run now, without the delayed maintenance jobs.
async fn jobs(server: &Entityd) -> u64 {
    let token = server.admin_token().unwrap();
    let stats =
        reqwest::Client::new().get(format!("http://{}/admin/queue", server.doors().ops)).bearer_auth(token);
    let stats: Value = stats.send().await.unwrap().json().await.unwrap();
    let queues = stats["queues"].as_object().unwrap().values();
    let open =
        |queue: &Value| ["ready", "leased"].map(|name| queue[name].as_u64().unwrap()).iter().sum::<u64>();
    queues.map(open).sum()
}
