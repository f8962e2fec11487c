//! Keeps the house tidy: a room looks up the list of rooms, never down, and says nothing of what it
//! must not know. Reads the source as text, so it needs no build of it.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, in the order in which they may know each other; `lib.rs` names them in this order.
const ROOMS: [&str; 16] = [
    "runtime",
    "telemetry",
    "limits",
    "tls",
    "model",
    "linkage",
    "metadata",
    "objects",
    "queue",
    "coordinator",
    "worker",
    "http",
    "s3",
    "config",
    "app",
    "cli",
];

/// Rooms that a room may not mention although they stand above it.
const STRANGERS: [(&str, &[&str]); 2] = [
    ("linkage", &["runtime", "telemetry", "limits", "tls"]),
    // A worker needs no database credentials: it reports an outcome and never applies it.
    ("worker", &["metadata"]),
];

/// Crates that a room may not mention.
const FOREIGN_CRATES: [(&str, &[&str]); 4] = [
    ("model", &["tokio", "axum", "rusqlite", "object_store", "sled"]),
    ("linkage", &["tokio", "axum", "rusqlite", "object_store", "sled"]),
    ("http", &["rusqlite", "sled"]),
    ("s3", &["rusqlite", "sled"]),
];

/// What no line outside tests may say; and what a line of it should say instead.
const FORBIDDEN: [(&str, &str); 5] = [
    ("todo!(", "write it, or leave it out"),
    ("unimplemented!(", "write it, or leave it out"),
    (".unwrap()", "return an error, or `expect` with the reason why it holds"),
    ("#[allow(", "`#[expect(.., reason = \"..\")]`"),
    ("#![allow(", "`#![expect(.., reason = \"..\")]`"),
];

#[test]
fn a_room_looks_up_the_list_never_down() {
    complain(|source| {
        let mentions = mentions(&source.text).into_iter();
        mentions.filter_map(|(line, room)| Some((line, complaint(&source.room, &room)?))).collect()
    });
}

#[test]
fn a_room_does_not_climb_out_through_super() {
    complain(|source| {
        let lines = code_lines(&source.text);
        lines
            .filter(|line| longest_climb(line.text) >= source.depth + usize::from(line.in_tests))
            .map(|line| (line.number, "name the room: `crate::<room>`".to_owned()))
            .collect()
    });
}

#[test]
fn rooms_keep_to_their_own_crates() {
    complain(|source| {
        let crates =
            FOREIGN_CRATES.iter().filter(|(room, _)| *room == source.room).flat_map(|(_, crates)| *crates);
        let lines_with = |name: &&'static str| {
            let name = *name;
            let lines = code_lines(&source.text).filter(move |line| names_crate(line.text, name));
            lines.map(move |line| (line.number, format!("`{}` must not know `{name}`", source.room)))
        };
        crates.flat_map(lines_with).collect()
    });
}

#[test]
fn nothing_is_left_half_done() {
    complain(|source| {
        let lines = code_lines(&source.text).filter(|line| !line.in_tests && !source.is_test);
        let found = |line: Line<'_>| {
            let forbidden = FORBIDDEN.iter().find(|(text, _)| line.text.contains(text));
            forbidden.map(|(text, instead)| (line.number, format!("`{text}`: {instead}")))
        };
        lines.filter_map(found).collect()
    });
}

#[test]
fn lib_names_the_rooms_in_order() {
    let lib = fs::read_to_string(src().join("lib.rs")).expect("src/lib.rs is readable");
    let named: Vec<&str> =
        lib.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let in_order: Vec<&str> = ROOMS.into_iter().filter(|room| named.contains(room)).collect();
    assert_eq!(named, in_order, "lib.rs names each room of the list once, in the list's order");
}

#[test]
fn the_checks_notice_what_they_are_for() {
    let found = |text: &str| mentions(text).into_iter().map(|(_, room)| room).collect::<Vec<_>>();
    assert_eq!(found("use crate::queue::Error; // crate::app"), ["queue", "app"]);
    assert_eq!(found("use crate::{model,\n  queue::{Broker, Error}, app};"), ["model", "queue", "app"]);
    assert_eq!(found("let subcrate::x = 1;"), Vec::<String>::new());
    assert!(complaint("model", "queue").is_some());
    assert!(complaint("queue", "model").is_none());
    assert!(complaint("worker", "metadata").is_some());
    assert!(complaint("linkage", "runtime").is_some());
    assert!(complaint("queue", "").is_some());
    assert_eq!(longest_climb("use super::super::a; use super::b;"), 2);
    assert!(names_crate("use tokio::fs;", "tokio"));
    assert!(!names_crate("let my_tokio::x", "tokio"));
    let split: Vec<(usize, bool)> =
        code_lines("a\n// b\n#[cfg(test)]\nmod tests {\n  b\n}\nc").map(|l| (l.number, l.in_tests)).collect();
    assert_eq!(split, [(1, false), (3, true), (4, true), (5, true), (6, true), (7, false)]);
}

/// A file of the source tree.
struct Source {
    name: String,
    room: String,
    /// How many `super::` lead from its top level to the crate's root.
    depth: usize,
    /// Compiled only under test: its parent declares it with `#[cfg(test)]`.
    is_test: bool,
    text: String,
}

struct Line<'a> {
    number: usize,
    text: &'a str,
    in_tests: bool,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of every room; `lib.rs` and `main.rs` belong to none.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&src(), &mut files);
    files
        .iter()
        .filter_map(|file| {
            let inside = file.strip_prefix(src()).expect("the walk began there").with_extension("");
            let mut modules: Vec<String> =
                inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            modules.pop_if(|last| last == "mod");
            let room = modules.first()?.clone();
            (room != "lib" && room != "main").then(|| Source {
                name: format!("src/{}", file.strip_prefix(src()).expect("as above").display()),
                room,
                depth: modules.len(),
                is_test: is_test_module(file),
                text: fs::read_to_string(file).expect("a source file is readable"),
            })
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Whether the parent module, or one above it, declares this file's module under `#[cfg(test)]`.
fn is_test_module(file: &Path) -> bool {
    let inside_out = file.with_extension("");
    inside_out.ancestors().take_while(|module| *module != src()).any(|module| {
        let Some((name, folder)) = module.file_name().zip(module.parent()) else { return false };
        let declaration = format!("mod {};", name.to_string_lossy());
        let parents = [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")];
        let Some(text) = parents.iter().find_map(|parent| fs::read_to_string(parent).ok()) else {
            return false;
        };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.windows(2).any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&declaration))
    })
}

/// The lines that are not comments, each with whether an inline `#[cfg(test)]` item holds it. Trusts
/// rustfmt: such an item ends with the first line of its own indent that is `}` or closes with `;`.
fn code_lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut tests_indent = None;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if tests_indent.is_none() && text.starts_with("#[cfg(test)]") {
            tests_indent = Some(indent);
        }
        let in_tests = tests_indent.is_some();
        if tests_indent == Some(indent) && (text == "}" || text.ends_with(';')) {
            tests_indent = None;
        }
        (!text.starts_with("//")).then_some(Line { number, text: line, in_tests })
    })
}

/// Each `crate::<room>` of a text, comments and lists in braces included, with its line.
fn mentions(text: &str) -> Vec<(usize, String)> {
    text.match_indices("crate::")
        .filter(|(at, _)| !text[..*at].ends_with(is_identifier))
        .flat_map(|(at, found)| {
            let line = text[..at].matches('\n').count() + 1;
            rooms_after(&text[at + found.len()..]).into_iter().map(move |room| (line, room))
        })
        .collect()
}

/// The room that a path begins with, or the rooms of a list such as `{model, queue::{Broker, Error}}`.
fn rooms_after(path: &str) -> Vec<String> {
    let identifier = |text: &str| text.chars().take_while(|char| is_identifier(*char)).collect::<String>();
    let Some(list) = path.strip_prefix('{') else { return vec![identifier(path)] };
    let mut depth = 1;
    let mut own_level = String::new();
    for char in list.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 1 => own_level.push(char),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    own_level.split(',').map(|item| identifier(item.trim())).filter(|room| !room.is_empty()).collect()
}

fn complaint(from: &str, to: &str) -> Option<String> {
    let floor = |room: &str| ROOMS.iter().position(|name| *name == room);
    let Some(own) = floor(from) else { return Some(format!("`{from}` is no room of the list")) };
    let Some(other) = floor(to) else { return Some(format!("`crate::{to}` is no room of the list")) };
    let strange = STRANGERS.iter().any(|(room, strangers)| *room == from && strangers.contains(&to));
    (other > own || strange).then(|| format!("`{from}` must not know `{to}`"))
}

fn longest_climb(line: &str) -> usize {
    line.match_indices("super::")
        .map(|(at, _)| {
            let rest = &line[at..];
            (rest.len() - rest.trim_start_matches("super::").len()) / "super::".len()
        })
        .max()
        .unwrap_or(0)
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| !line[..at].ends_with(is_identifier))
        || line.trim_start().starts_with(&format!("use {name};"))
}

fn is_identifier(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Fails with every complaint (line, text) that `check` has about a file of the tree.
fn complain(check: impl Fn(&Source) -> Vec<(usize, String)>) {
    let of_source = |source: &Source| {
        let complaints = check(source).into_iter();
        complaints.map(|(line, text)| format!("{}:{line}: {text}", source.name)).collect::<Vec<_>>()
    };
    let complaints: Vec<String> = sources().iter().flat_map(of_source).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
