//! Snapshots of `--help`, and of the errors about wrong command lines.

use super::*;

fn help(path: &[&str]) -> String {
    let mut command = Arguments::command().term_width(100);
    command.build();
    let found = path
        .iter()
        .fold(&mut command, |command, name| command.find_subcommand_mut(name).expect("the command exists"));
    found.render_long_help().to_string()
}

fn complaint(arguments: &[&str]) -> String {
    let words = std::iter::once("entityd").chain(arguments.iter().copied());
    one_line(&Arguments::parsed(words).unwrap_err())
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_is_as_reviewed() {
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_block", help(&["block"]));
    insta::assert_snapshot!("help_config_show", help(&["config", "show"]));
    insta::assert_snapshot!("help_demo", help(&["demo"]));
    insta::assert_snapshot!("help_encode", help(&["encode"]));
    insta::assert_snapshot!("help_schema", help(&["schema"]));
    insta::assert_snapshot!("help_generate", help(&["generate"]));
    insta::assert_snapshot!("help_link", help(&["link"]));
    insta::assert_snapshot!("help_queue", help(&["queue"]));
    insta::assert_snapshot!("help_project_create", help(&["project", "create"]));
    insta::assert_snapshot!("help_result_get", help(&["result", "get"]));
    insta::assert_snapshot!("help_run_watch", help(&["run", "watch"]));
    insta::assert_snapshot!("help_upload", help(&["upload"]));
}

#[test]
fn a_wrong_command_line_is_one_line() {
    insta::assert_snapshot!(complaint(&["conf"]), @"unrecognized subcommand 'conf' (a similar subcommand exists: 'config')");
    insta::assert_snapshot!(complaint(&["config", "show", "--lese-ms", "5"]), @"unexpected argument '--lese-ms' found (a similar argument exists: '--lease-ms')");
    insta::assert_snapshot!(complaint(&["config", "show", "--lease-ms"]), @"a value is required for '--lease-ms <MS>' but none was supplied");
    insta::assert_snapshot!(complaint(&["demo", "--records", "-1"]), @"invalid value '-1' for '--records <N>': give a whole number from 1 to 10000000");
    insta::assert_snapshot!(complaint(&["encode", "a.csv", "--threads", "many"]), @"invalid value 'many' for '--threads <N>': give a whole number from 0 to 1024");
    insta::assert_snapshot!(complaint(&["run", "watch", "--timeout", "soon"]), @"invalid value 'soon' for '--timeout <TIME>': give seconds from 1 to 315360000, or a time such as 90s, 30m or 2h");
    insta::assert_snapshot!(complaint(&["completions"]), @"the following required arguments were not provided: <SHELL>");
    insta::assert_snapshot!(complaint(&["completions", "dish"]), @"invalid value 'dish' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh] (a similar value exists: 'fish')");
}
