//! Reads schemas and configurations from files.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use encoder::schema::{self, Schema};

use super::exit::{Failure, complain};

/// Reads a schema, and prints warnings about it, or fails because of them if `strict` is set.
pub(super) fn read_schema(path: &Path, strict: bool) -> Result<Schema, Failure> {
    let text = read_text(path)?;
    let prefixed = |lines: Vec<String>| {
        lines.iter().map(|line| format!("{}: {line}", path.display())).collect::<Vec<_>>().join("\n")
    };
    let lines = |mistakes: &[schema::Diagnostic]| mistakes.iter().map(ToString::to_string).collect();
    let schema = schema::read(&text).map_err(|mistakes| Failure::Input(prefixed(lines(&mistakes.0))))?;
    if !schema.notes.is_empty() {
        let notes = prefixed(lines(&schema.notes));
        if strict {
            return Err(Failure::Input(notes));
        }
        complain(&format!("warning: {notes}"));
    }
    Ok(schema)
}

/// Reads the schema for an encoding, and prints the effects of its options against attacks.
pub(super) fn read_schema_for_encoding(path: &Path, strict: bool) -> Result<Schema, Failure> {
    let schema = read_schema(path, strict)?;
    if let Some(hardening) = &schema.hardening {
        complain(&format!("note: {}: {}", path.display(), hardening.note));
    }
    schema.hardening_in_words().iter().for_each(|line| complain(&format!("note: {line}")));
    Ok(schema)
}

/// Reads the text of a schema; `-` is standard input.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    let text = String::from_utf8(bytes);
    let text =
        text.map_err(|_| Failure::Input(format!("{}: a schema must be UTF-8 text", path.display())))?;
    Ok(text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text))
}
