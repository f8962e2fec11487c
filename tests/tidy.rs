//! Rules of the source tree: the imports of its modules, the text that code must not contain, and its
//! prose. Reads the source as text, so it needs no build of it.
//!
//! `cargo test --test tidy -- --nocapture` prints the figures of each top module.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/source.rs"]
mod source;

use std::fs;

use source::{Line, code_lines, complain, is_identifier, src};

/// The top modules. Each may import those before it; `lib.rs` names them in this order.
const MODULES: [&str; 19] = [
    "runtime",
    "system",
    "telemetry",
    "edge",
    "linkage",
    "model",
    "encoder",
    "metadata",
    "objects",
    "buckets",
    "external",
    "queue",
    "coordinator",
    "worker",
    "http",
    "s3",
    "config",
    "app",
    "cli",
];

/// Modules that a module may not import although they stand before it.
///
/// A worker needs no database credentials: it reports an outcome and never applies it.
const NOT_IMPORTED: [(&str, &[&str]); 1] = [("worker", &["metadata"])];

/// Crates that a module may not import.
const FOREIGN_CRATES: [(&str, &[&str]); 8] = [
    ("runtime", &["linkage"]),
    ("system", &["linkage"]),
    ("telemetry", &["linkage"]),
    ("edge", &["linkage"]),
    ("model", &["tokio", "axum", "rusqlite", "object_store", "sled"]),
    ("encoder", &["tokio", "axum", "rusqlite", "object_store", "sled"]),
    ("http", &["rusqlite", "sled"]),
    ("s3", &["rusqlite", "sled"]),
];

/// Text that no line of code outside tests may contain, with its replacement.
const FORBIDDEN: [(&str, &str); 5] = [
    ("todo!(", "write it, or leave it out"),
    ("unimplemented!(", "write it, or leave it out"),
    (".unwrap()", "return an error, or `expect` with the reason why it holds"),
    ("#[allow(", "`#[expect(.., reason = \"..\")]`"),
    ("#![allow(", "`#![expect(.., reason = \"..\")]`"),
];

#[test]
fn a_module_imports_only_those_before_it() {
    complain(|source| {
        // A package of its own sees no module of another.
        if !source.package.is_empty() {
            return Vec::new();
        }
        let mentions = mentions(&source.text).into_iter();
        mentions.filter_map(|(line, module)| Some((line, complaint(source.top(), &module)?))).collect()
    });
}

#[test]
fn a_module_does_not_reach_outside_itself_through_super() {
    complain(|source| {
        let lines = code_lines(&source.text);
        lines
            .filter(|line| longest_climb(line.text) >= source.modules.len() + usize::from(line.in_tests))
            .map(|line| (line.number, "name the module: `crate::<module>`".to_owned()))
            .collect()
    });
}

#[test]
fn modules_keep_to_their_own_crates() {
    complain(|source| {
        let crates = FOREIGN_CRATES
            .iter()
            .filter(|(module, _)| *module == source.top())
            .flat_map(|(_, crates)| *crates);
        let lines_with = |name: &&'static str| {
            let name = *name;
            let lines = code_lines(&source.text).filter(move |line| names_crate(line.text, name));
            lines.map(move |line| (line.number, format!("`{}` must not import `{name}`", source.top())))
        };
        crates.flat_map(lines_with).collect()
    });
}

#[test]
fn no_unfinished_code_is_left() {
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
fn lib_names_the_modules_in_order() {
    let lib = fs::read_to_string(src().join("lib.rs")).expect("src/lib.rs is readable");
    let named: Vec<&str> = lib.lines().filter_map(named_module).collect();
    let in_order: Vec<&str> = MODULES.into_iter().filter(|module| named.contains(module)).collect();
    assert_eq!(named, in_order, "lib.rs names each module once, in the order of the list");
}

#[test]
fn the_checks_find_what_they_look_for() {
    let found = |text: &str| mentions(text).into_iter().map(|(_, module)| module).collect::<Vec<_>>();
    assert_eq!(found("use crate::queue::Error; // crate::app"), ["queue", "app"]);
    assert_eq!(found("use crate::{model,\n  queue::{Broker, Error}, app};"), ["model", "queue", "app"]);
    assert_eq!(found("let subcrate::x = 1;"), Vec::<String>::new());
    assert!(complaint("model", "queue").is_some());
    assert!(complaint("queue", "model").is_none());
    assert!(complaint("worker", "metadata").is_some());
    assert!(complaint("queue", "").is_some());
    assert_eq!(longest_climb("use super::super::a; use super::b;"), 2);
    assert!(names_crate("use tokio::fs;", "tokio"));
    assert!(!names_crate("let my_tokio::x", "tokio"));
    let split: Vec<(usize, bool)> =
        code_lines("a\n// b\n#[cfg(test)]\nmod tests {\n  b\n}\nc").map(|l| (l.number, l.in_tests)).collect();
    assert_eq!(split, [(1, false), (3, true), (4, true), (5, true), (6, true), (7, false)]);
}

/// Returns the module that a line of `lib.rs` declares, or re-exports from a package of its own.
fn named_module(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("pub use "))?.strip_suffix(';')
}

/// Returns each `crate::<module>` of a text with its line, comments and lists in braces included.
fn mentions(text: &str) -> Vec<(usize, String)> {
    text.match_indices("crate::")
        .filter(|(at, _)| !text[..*at].ends_with(is_identifier))
        .flat_map(|(at, found)| {
            let line = text[..at].matches('\n').count() + 1;
            modules_after(&text[at + found.len()..]).into_iter().map(move |module| (line, module))
        })
        .collect()
}

/// Returns the module that a path begins with, or the modules of a list such as `{model, queue::{Broker, Error}}`.
fn modules_after(path: &str) -> Vec<String> {
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
    own_level.split(',').map(|item| identifier(item.trim())).filter(|module| !module.is_empty()).collect()
}

fn complaint(from: &str, to: &str) -> Option<String> {
    let position = |module: &str| MODULES.iter().position(|name| *name == module);
    let Some(own) = position(from) else { return Some(format!("`{from}` is not in the list of modules")) };
    let Some(other) = position(to) else {
        return Some(format!("`crate::{to}` is not in the list of modules"));
    };
    let excluded = NOT_IMPORTED.iter().any(|(module, others)| *module == from && others.contains(&to));
    (other > own || excluded).then(|| format!("`{from}` must not import `{to}`"))
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
