//! `entityd selftest --server` against running servers.

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::command_line::{entityd, stderr};
use crate::support::{Entityd, eventually};

/// Runs `entityd selftest` against the server at `url`.
fn check(url: &str, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = entityd();
    command.args(["selftest", "--server", url]).args(flags).envs(variables.iter().copied());
    command.output().unwrap()
}

fn url(server: &Entityd) -> String {
    format!("http://{}", server.doors().api)
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn outcome<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|line| line["check"] == check).unwrap()["outcome"].as_str().unwrap()
}

async fn projects(server: &Entityd) -> Value {
    server.api().get("/projects", "").await.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_server_passes_and_keeps_nothing() {
    let server = Entityd::start();
    for address in [url(&server), format!("{}/api/v1/", url(&server))] {
        let output = check(&address, &["--json"], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report = report(&output);
        assert_eq!(report["passed"], true);
        for line in report["checks"].as_array().unwrap() {
            assert_eq!(line["outcome"], "passed", "{line}");
        }
    }
    assert_eq!(projects(&server).await, serde_json::json!([]));
    let table = check(&url(&server), &["--people", "100"], &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.lines().any(|line| line.starts_with("external upload") && line.contains("100 groups")),
        "{table}"
    );
    assert!(table.trim_end().ends_with(" works"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_feature_is_skipped_and_the_admin_token_sent_where_needed() {
    let server = Entityd::with(&["--external-uploads", "false", "--require-admin-token", "true"]);
    let token = server.admin_token().unwrap();
    let output = check(&url(&server), &["--json"], &[("ENTITYD_ADMIN_TOKEN", &token)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(outcome(&report(&output), "external upload"), "not offered");
    let output = check(&url(&server), &["--json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(outcome(&report(&output), "groups of three parties"), "failed");
    assert!(String::from_utf8_lossy(&output.stdout).contains("--token-file"));
    assert!(stderr(&output).ends_with("failed\n"));
    assert!(!stderr(&output).contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_self_signed_certificate_is_checked_with_ca() {
    let server = Entityd::with(&["--tls", "self-signed"]);
    let address = format!("https://localhost:{}", server.doors().api.port());
    let ca = server.data_dir().join("tls/certificate.pem");
    let output = check(&address, &["--json", "--ca", ca.to_str().unwrap()], &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{} {}",
        stderr(&output),
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(outcome(&report(&output), "external upload"), "passed");
    let strange = check(&address, &[], &[]);
    assert_eq!(strange.status.code(), Some(1));
    let strange = stderr(&strange);
    assert!(
        strange.contains("no answer from") && strange.contains("--ca names its certificate"),
        "{strange}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_address_is_reported_in_one_line() {
    let server = Entityd::start();
    let ops = format!("http://{}", server.doors().ops);
    for (words, code, said) in [
        (&["--server", "localhost:8851"][..], 2, "give a URL such as"),
        (&["--server", "ftp://localhost"], 2, "give a URL such as"),
        (&["--server", "http://127.0.0.1:1"], 1, "no answer from http://127.0.0.1:1/api/v1"),
        (&["--server", &ops], 1, "GET /status was answered 404"),
        (&["--server", &ops, "--ca", "/nowhere"], 2, "--ca /nowhere: "),
        (&["--server", &ops, "--token-file", "/nowhere"], 2, "/nowhere"),
        (&["--server", &ops, "--people", "10001"], 2, "at most 10000"),
        (&["--server", &ops, "--chaos"], 2, "cannot be used with"),
        (&["--server", &ops], 1, "is --server the address of the API?"),
        (&["--server", &ops, "--kills", "3"], 2, "cannot be used with"),
        (&["--server", &ops, "--seed", "3"], 2, "cannot be used with"),
        (&["--server", &ops, "--ca", concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE")], 2, "no certificate"),
        (&["--ca", "/nowhere"], 2, "--server"),
    ] {
        let output = entityd().arg("selftest").args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", stderr(&output));
        let line = stderr(&output);
        assert!(line.contains(said) && line.lines().count() == 1, "{words:?}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_deletes_what_was_made() {
    let server = Entityd::with(&["--queues", "ingest=1,maintenance=1"]);
    let mut command = entityd();
    command.args(["selftest", "--server", &url(&server)]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let made = async || (projects(&server).await != serde_json::json!([])).then_some(());
    eventually("a project is made", made).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(projects(&server).await, serde_json::json!([]));
}

#[test]
fn an_interrupted_selftest_leaves_neither_server_nor_files() {
    for pause in [0, 100, 1_000] {
        let place = tempfile::tempdir().unwrap();
        let mut command = entityd();
        command.args(["selftest", "--people", "100000"]).env("TMPDIR", place.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let is_begun = || fs::read_dir(place.path()).unwrap().next().is_some();
        let begun = entityd::runtime::clock::Stopwatch::start();
        while !is_begun() && begun.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(pause));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert!(!is_begun(), "after {pause} ms");
    }
}

#[tokio::test]
async fn a_killed_selftest_leaves_no_server() {
    let place = tempfile::tempdir().unwrap();
    let mut command = entityd();
    command.args(["selftest", "--people", "100000"]).env("TMPDIR", place.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let home = || fs::read_dir(place.path()).unwrap().next().map(|entry| entry.unwrap().path().join("data"));
    // The file is locked as long as the server runs, which describes itself in it. To lock it before the server does would
    // keep the server from starting.
    let lock = async || {
        let path = home()?.join("lock");
        fs::read_to_string(&path).ok().filter(|word| !word.is_empty())?;
        fs::File::open(path).ok()
    };
    let lock = eventually("the server runs", lock).await;
    assert!(lock.try_lock().is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the server has ended", async || lock.try_lock().ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_workers_is_named() {
    let server = Entityd::with(&["--queues", "maintenance=1"]);
    let output = check(&url(&server), &["--json", "--timeout", "1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("are workers running?"), "{said}");
    assert_eq!(outcome(&report(&output), "deletion"), "passed");
    let log = fs::read_to_string(server.data_dir().parent().unwrap().join("log")).unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}
