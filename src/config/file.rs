//! Reads the settings file.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, is_secret, unknown_key};
use super::settings::{KEYS, Key};
use super::source::Source;
use crate::metadata::without_password;
use crate::system::{permission, text};

/// One line of the settings file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    path: PathBuf,
    line: usize,
}

impl Entry {
    /// Returns the file and line of the entry.
    pub(super) fn source(&self) -> Source {
        Source::File { path: self.path.clone(), line: self.line }
    }
}

/// Reads every entry of the file at `path`. Unknown settings are errors.
pub(super) fn read(path: &str) -> Result<Vec<Entry>, Error> {
    let wrong = |problem: String| Error::File { place: path.to_owned(), problem };
    if path.is_empty() {
        let problem = "the path is empty: give a path with --config or ENTITYD_CONFIG, or neither".to_owned();
        return Err(Error::File { place: "\"\"".to_owned(), problem });
    }
    let bytes = std::fs::read(path).map_err(|cause| {
        let cause = permission::explained(Path::new(path), cause);
        wrong(format!("cannot be read: {cause}"))
    })?;
    let text = text::unmarked(&bytes).map_err(|foreign| wrong(foreign.to_string()))?;
    let text =
        str::from_utf8(text).map_err(|_| wrong("it is not text in UTF-8; save it as UTF-8".to_owned()))?;
    parse(path, text)
}

/// Parses every entry of `text`, the content of the file at `path`.
pub(super) fn parse(path: &str, text: &str) -> Result<Vec<Entry>, Error> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let written = text.lines().nth(line - 1).map_or_else(String::new, shown);
        let message = error.message().replace('\n', "; ");
        Error::File { place: format!("{path} line {line}"), problem: format!("{written}{message}") }
    })?;
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
        key: AsRef::<str>::as_ref(key.get_ref()).to_owned(),
        value: text_of(value.get_ref()),
        path: PathBuf::from(path),
        line: line_of(text, key.span().start),
    };
    let mut entries: Vec<Entry> = table.get_ref().iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.line);
    match entries.iter().find(|entry| KEYS.iter().all(|key| key.name != entry.key)) {
        Some(stray) => Err(unknown_key(&stray.key, &stray.value, stray.source(), KEYS.iter().map(name))),
        None => Ok(entries),
    }
}

fn name(key: &Key) -> String {
    key.name.to_owned()
}

/// Returns the text of a value as in a flag. A table remains TOML, which no setting accepts.
fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(items) => {
            items.iter().map(|item| text_of(item.get_ref())).collect::<Vec<_>>().join(",")
        }
        DeValue::Table(_) => "[table]".to_owned(),
    }
}

/// Returns a line of the file for an error message, without parts that may be secret. A line that sets no known setting
/// is not repeated: it may be the rest of a secret, or the file may be one.
fn shown(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return String::new() };
    let (key, value) = (key.trim(), value.trim());
    if KEYS.iter().all(|known| known.name != key) {
        String::new()
    } else if is_secret(key) {
        format!("{key} = ***: ")
    } else {
        format!("{key} = {:?}: ", without_password(value))
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
