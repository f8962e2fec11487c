//! Every command that prints fails if its output cannot be written.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::command_line::{entityd, stderr};
use crate::support::Entityd;

/// Runs the program in a shell, with the redirection `to`.
fn redirected(to: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let program = entityd();
    let mut command = Command::new("bash");
    command
        .args(["-o", "pipefail", "-c", &format!("\"$0\" \"$@\" {to}")])
        .arg(program.get_program())
        .args(arguments);
    for (name, _) in program.get_envs() {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

/// Asserts that a command fails with a message if its output cannot be written, and succeeds if the reader closes the
/// pipe.
fn fails(arguments: &[&str], variables: &[(&str, &str)]) {
    for to in [">&-", ">/dev/full"] {
        let output = redirected(to, arguments, variables);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {to}: {said}");
        let complaint = said.lines().last().unwrap_or_default();
        assert!(complaint.starts_with("entityd: cannot write the output: "), "{arguments:?} {to}: {said}");
    }
    let output = redirected("| true", arguments, variables);
    let said = stderr(&output);
    assert!(output.status.success() && !said.contains("entityd: "), "{arguments:?}: {said}");
}

#[test]
fn commands_that_only_print_report_a_failed_write() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["link", "--help"],
        &["config", "show"],
        &["config", "show", "--json"],
        &["completions", "bash"],
    ] {
        fails(arguments, &[]);
    }
}

#[test]
fn commands_that_work_before_they_print_report_a_failed_write() {
    let folder = TempDir::new().unwrap();
    let files = ["0.json", "1.json"].map(|name| folder.path().join(name).display().to_string());
    files.iter().for_each(|file| fs::write(file, r#"{"clks": ["AAECAwQFBgc="]}"#).unwrap());
    let [first, second] = &files;
    for (result, format) in [("groups", "json"), ("groups", "csv"), ("scores", "json"), ("scores", "csv")] {
        fails(&["link", first, second, "--threshold", "0.9", "--result", result, "--format", format], &[]);
    }
    fails(&["bench", "solve", "--json", "--pairs", "1000"], &[]);
    fails(&["demo", "--json", "--records", "100"], &[]);
    fails(&["selftest", "--json", "--people", "100"], &[]);
}

#[test]
fn the_queue_commands_report_a_failed_write() {
    let server = Entityd::start();
    let (url, token) = (format!("http://{}", server.doors().ops), server.admin_token().unwrap());
    let variables = [("ENTITYD_OPS_SERVER", url.as_str()), ("ENTITYD_ADMIN_TOKEN", token.as_str())];
    for arguments in [&["queue", "stats"][..], &["queue", "list", "--json"], &["queue", "pause", "--all"]] {
        fails(arguments, &variables);
    }
}
