//! Reads the source tree as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the source tree.
pub(crate) struct Source {
    pub(crate) name: String,
    /// The path of the file's module: `src/a/b/mod.rs` and `src/a/b.rs` are both `[a, b]`.
    pub(crate) modules: Vec<String>,
    /// The part of `modules` that `crate` stands for: empty, or the folder of a package of its own.
    pub(crate) package: Vec<String>,
    /// Compiled only under test: its parent declares it with `#[cfg(test)]`.
    pub(crate) is_test: bool,
    pub(crate) text: String,
}

/// A line that is not a comment.
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    pub(crate) text: &'a str,
    pub(crate) in_tests: bool,
}

impl Source {
    /// Returns the top module that the file belongs to.
    pub(crate) fn top(&self) -> &str {
        &self.modules[0]
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn src() -> PathBuf {
    root().join("src")
}

/// Returns every file of every top module; `lib.rs` and `main.rs` belong to none.
pub(crate) fn sources() -> Vec<Source> {
    let source = |file: &PathBuf| {
        let inside = file.strip_prefix(src()).expect("the walk began there").with_extension("");
        let mut modules: Vec<String> =
            inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        modules.pop_if(|last| last == "mod" || last == "lib");
        let top = modules.first()?.clone();
        (top != "main").then(|| Source {
            name: format!("src/{}", file.strip_prefix(src()).expect("as above").display()),
            package: modules[..usize::from(src().join(&top).join("Cargo.toml").is_file())].to_vec(),
            is_test: is_test_module(file),
            text: fs::read_to_string(file).expect("a source file is readable"),
            modules,
        })
    };
    files_below(&src(), &["rs"]).iter().filter_map(source).collect()
}

/// Returns the files of a folder that have one of these extensions, subfolders included.
pub(crate) fn files_below(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            files.extend(files_below(&path, extensions));
        } else if path.extension().is_some_and(|found| extensions.iter().any(|one| found == *one)) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns whether the parent module, or one above it, declares this file's module under
/// `#[cfg(test)]`.
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

/// Returns the lines that are not comments, and marks the lines inside an inline `#[cfg(test)]` item. Relies on
/// rustfmt: such an item ends with the first line of its own indent that is `}` or closes with `;`.
pub(crate) fn code_lines(text: &str) -> impl Iterator<Item = Line<'_>> {
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

pub(crate) fn is_identifier(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Fails with every complaint (line, text) that `check` has about a file of the tree.
pub(crate) fn complain(check: impl Fn(&Source) -> Vec<(usize, String)>) {
    let of_source = |source: &Source| {
        let complaints = check(source).into_iter();
        complaints.map(|(line, text)| format!("{}:{line}: {text}", source.name)).collect::<Vec<_>>()
    };
    let complaints: Vec<String> = sources().iter().flat_map(of_source).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
