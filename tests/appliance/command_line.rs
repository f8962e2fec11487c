//! Output and exit codes of the binary, without a server.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub(crate) fn entityd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entityd"));
    // The settings of the user who runs the tests must have no effect.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ENTITYD_")) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_mistake_is_one_line_on_standard_error_and_exit_code_2() {
    for arguments in [
        &["config", "show", "--listen", "here"][..],
        &["config", "show", "--config", "/does/not/exist"],
        &["config", "show", "--lese-ms", "5"],
        &["conf"],
    ] {
        let output = entityd().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let line = stderr(&output);
        assert!(line.starts_with("entityd: ") && line.lines().count() == 1, "{arguments:?}: {line}");
    }
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let output = entityd().args(["config", "show"]).env("ENTITYD_LEASE_MS", "soon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("entityd: lease_ms = \"soon\" from environment ENTITYD_LEASE_MS: give")
    );
}

#[test]
fn a_benchmark_refuses_the_jobs_that_an_interrupted_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |jobs: &str| {
        let mut command = entityd();
        command.args(["bench", "queue", "--jobs", jobs, "--data-dir"]).arg(folder.path());
        command.stdout(Stdio::null());
        command
    };
    let left = || {
        let output = bench("20").stderr(Stdio::piped()).output().unwrap();
        (output.status.code() == Some(2)).then(|| stderr(&output))
    };
    let line = (1..20).find_map(|attempt| {
        let mut child = bench("1000000").stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
        left()
    });
    let expected = "entityd: --data-dir has jobs of an interrupted benchmark; give an empty directory\n";
    assert_eq!(line.unwrap(), expected);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (arguments, start) in [
        (&["--version"][..], "entityd "),
        (&["version"], "entityd "),
        (&["--help"], "Privacy-preserving"),
        (&["help"], "Privacy-preserving"),
        (&["help", "run"], "Starts, lists"),
    ] {
        let output = entityd().args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        assert!(output.stdout.starts_with(start.as_bytes()), "{arguments:?}");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    assert!(entityd().arg("manual").arg(&pages).status().unwrap().success());
    let serve = std::fs::read_to_string(pages.join("entityd-serve.1")).unwrap();
    assert!(serve.contains(r"\-\-data\-dir"), "{serve}");
    for page in ["entityd.1", "entityd-queue-stats.1", "entityd-manual.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
    assert!(std::fs::read_dir(&pages).unwrap().all(|page| page.unwrap().path().is_file()));
    let output = entityd().arg("manual").arg(pages.join("entityd.1")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("entityd: cannot write to "), "{}", stderr(&output));
}

#[test]
fn a_folder_that_is_no_data_directory_has_no_verified_record() {
    let folder = tempfile::tempdir().unwrap();
    let verify = || entityd().args(["audit", "verify", "--data-dir"]).arg(folder.path()).output().unwrap();
    let refused = verify();
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        stderr(&refused).ends_with("is not a data directory: it has no file `format`; give --data-dir\n")
    );
    std::fs::write(folder.path().join("format"), "1\n").unwrap();
    assert!(verify().status.success());
}

#[test]
fn an_empty_node_is_not_every_node() {
    for action in ["drain", "forget"] {
        let output = entityd().args(["nodes", action, ""]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("a value is required"), "{}", stderr(&output));
    }
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let mut child = entityd()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(complaint, "");
}
