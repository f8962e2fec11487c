//! `entityd check` and `entityd debug bundle`, with and without a running server.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};
use crate::support::{ENCODING, Entityd};

/// Flags that make the system choose every port.
const ANY: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];

fn check(data: &Path, flags: &[&str]) -> Output {
    entityd().args(["check", "--json", "--data-dir"]).arg(data).args(flags).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// Returns the state and the detail of the check `name`.
fn finding(output: &Output, name: &str) -> (String, String) {
    let report = report(output);
    let checks = report["checks"].as_array().unwrap();
    let found =
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

#[test]
fn a_machine_without_a_server_is_checked_and_nothing_is_created() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let output = check(&data, &ANY);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (name, said) in [
        ("data directory", "does not exist yet"),
        ("sync", "jobs or changes a second"),
        ("disk space", "MiB are free"),
        ("clock", "UTC"),
        ("limits", "open files"),
        ("processor", "compares with"),
        ("kernel", "Linux"),
        ("memory", "MiB"),
        ("listen", "is free"),
        ("certificate", "plain HTTP"),
        ("object store", "in the data directory"),
    ] {
        let (state, detail) = finding(&output, name);
        assert!(state != "failed" && detail.contains(said), "{name}: {detail}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let table = entityd().arg("check").args(ANY).arg("--data-dir").arg(&data).output().unwrap();
    assert!(String::from_utf8(table.stdout).unwrap().starts_with("check "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_detected_and_not_disturbed() {
    let server = Entityd::start();
    let (api, data) = (server.doors().api.to_string(), server.data_dir());
    let flags = ["--listen", &api, "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let output = check(&data, &flags);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(finding(&output, "data directory").1.ends_with("is in use by a server"));
    assert!(finding(&output, "listen").1.contains("a server runs on this data directory"));
    assert!(finding(&output, "stored version").1.contains("metadata.db schema"));
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING]).await;
    let (_, folder) = server.stop();
    let data = folder.path().join("data");
    assert!(finding(&check(&data, &ANY), "data directory").1.ends_with("not in use"));

    fs::write(data.join("format"), "99\n").unwrap();
    let newer = check(&data, &ANY);
    assert_eq!(newer.status.code(), Some(1));
    assert_eq!(finding(&newer, "stored version").0, "failed");
    assert!(stderr(&newer).starts_with("entityd: 1 checks failed"), "{}", stderr(&newer));
}

#[test]
fn failed_checks_are_named() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        check(&data, &["--listen", &address, "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(finding(&output, "listen").0, "failed");

    let with = |flags: &[&str]| check(&data, &[&ANY, flags].concat());
    let full = with(&["--disk-free-min", "1000000000000000"]);
    assert_eq!((full.status.code(), finding(&full, "disk space").0.as_str()), (Some(1), "failed"));
    let missing = with(&["--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"]);
    assert_eq!(finding(&missing, "certificate").0, "failed");
    let store = entityd()
        .args(["check", "--json", "--objects", "s3://bucket", "--objects-endpoint", "http://127.0.0.1:1"])
        .args(["--objects-timeout-ms", "1000", "--data-dir"])
        .arg(&data)
        .args(ANY)
        .envs([("AWS_ACCESS_KEY_ID", "planted-id"), ("AWS_SECRET_ACCESS_KEY", "planted-secret")])
        .output()
        .unwrap();
    let (state, detail) = finding(&store, "object store");
    assert_eq!((store.status.code(), state.as_str()), (Some(1), "failed"), "{detail}");
    assert!(detail.contains("s3://bucket, endpoint http://127.0.0.1:1"), "{detail}");
    assert!(!String::from_utf8_lossy(&store.stdout).contains("planted-secret"));

    fs::create_dir(&data).unwrap();
    fs::write(data.join("letter"), "dear").unwrap();
    assert!(finding(&check(&data, &ANY), "data directory").1.contains("it holds \"letter\""));
    fs::write(data.join("format"), "1\n").unwrap();
    fs::write(data.join("metadata.mark"), "").unwrap();
    for (content, said) in [
        (None, "metadata.db: No such file"),
        (Some("hello"), "metadata.db is damaged; restore it from a backup"),
    ] {
        if let Some(content) = content {
            fs::write(data.join("metadata.db"), content).unwrap();
        }
        let (state, detail) = finding(&check(&data, &ANY), "stored version");
        assert!(state == "failed" && detail.contains(said), "{state} {detail}");
    }
    let open =
        check(&data, &["--listen", "0.0.0.0:0", "--s3-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    assert_eq!(finding(&open, "certificate").0, "warning");
    let wrong = check(&data, &["--listen", "here"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(check(&data, &["--lese-ms", "1"]).status.code(), Some(2));
}

/// Returns the concatenated files of a bundle.
fn unpacked(bundle: &Path) -> String {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(bundle).unwrap()));
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        writeln!(text, "== {}", entry.path().unwrap().display()).unwrap();
        entry.read_to_string(&mut text).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_holds_none_of_the_planted_secrets() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        secret(&path, text);
        path.to_str().unwrap().to_owned()
    };
    let token = "planted-admin-token-1";
    let token_file = file("token", token);
    let key_file = file("key", "planted-s3-secret-2");
    let server = Entityd::with_variables(
        &["--admin-token-file", &token_file],
        &[("ENTITYD_S3_ACCESS_KEY", "AKIDPUBLIC"), ("ENTITYD_S3_SECRET_KEY_FILE", &key_file)],
    );
    let api = server.api();
    let body = serde_json::json!({"schema": {}, "result_type": "groups", "name": "planted-name-3", "notes": "planted-notes-4"});
    let project = api.create(body).await;
    project.upload(0, &[ENCODING]).await;
    let identity = fs::read_to_string(server.data_dir().join("identity")).unwrap();
    let log = file(
        "log",
        &format!("a {token} b planted-s3-secret-7 c {} d http://u:planted-5@host/ e\n", project.result_token),
    );
    let bundle = folder.path().join("bundle.tar.gz");
    let make = |server: Option<&Entityd>, data: &Path| {
        let mut command = entityd();
        command.args(["debug", "bundle", "--log-file", &log, "--output"]).arg(&bundle).args(ANY);
        command.args(["--admin-token-file", &token_file, "--objects-endpoint", "http://127.0.0.1:1"]);
        command.arg("--data-dir").arg(data).envs([
            ("ENTITYD_S3_ACCESS_KEY", "AKIDPUBLIC"),
            ("ENTITYD_S3_SECRET_KEY", "planted-s3-secret-7"),
            ("AWS_SECRET_ACCESS_KEY", "planted-aws-8"),
            ("ENTITYD_ADMIN_TOKEN", token),
            ("SOME_PASSWORD", "planted-other-9"),
        ]);
        let address = server.map_or("127.0.0.1:1".to_owned(), |server| server.doors().ops.to_string());
        let output = command.args(["--server", &format!("http://{address}")]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = unpacked(&bundle);
        fs::remove_file(&bundle).unwrap();
        assert!(!text.contains("planted-"), "{text}");
        for secret in [&project.result_token, &project.update_tokens[1]] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
        assert!(!text.contains(ENCODING));
        text
    };
    let running = make(Some(&server), &server.data_dir());
    for part in [
        "versions.txt",
        "settings.json",
        "data-directory.txt",
        "check.json",
        "readyz.json",
        "metrics.txt",
        "queues.json",
        "log.txt",
    ] {
        assert!(running.contains(&format!("== {part}")), "{part}");
    }
    assert!(running.contains("entityd_dependency_up") && running.contains("\"ingest\""), "{running}");
    assert!(!identity.is_empty());
    let (_, stopped) = server.stop();
    let down = make(None, &stopped.path().join("data"));
    assert!(down.contains("no answer from") && down.contains("metadata.db"));
    let lost = entityd()
        .args(["debug", "bundle", "--log-file", "/nowhere", "--output"])
        .arg(&bundle)
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(1));
    assert!(stderr(&lost).contains("/nowhere") && !bundle.exists());
    let nowhere =
        entityd().args(["debug", "bundle", "--output", "/nowhere/x.tar.gz"]).args(ANY).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("cannot write /nowhere/x.tar.gz"));
}

fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
