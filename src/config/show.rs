//! Prints the settings with their sources.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Loaded;
use super::error::is_secret;
use super::settings::KEYS;

/// One setting with its value and source.
struct Row {
    key: &'static str,
    value: Value,
    source: String,
}

impl Row {
    fn text(&self) -> String {
        let default =
            || KEYS.iter().find(|key| key.name == self.key).map_or("", |key| key.default).to_owned();
        // A setting without a value prints its default text.
        if self.value.is_null() { default() } else { plain(&self.value) }
    }
}

/// Formats a table of key, value and source.
pub fn table(loaded: &Loaded) -> String {
    let rows = rows(loaded);
    let texts: Vec<String> = rows.iter().map(Row::text).collect();
    let key_width = rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
    let value_width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    let mut line = |key: &str, value: &str, source: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{key:key_width$}  {value:value_width$}  {source}");
    };
    line("key", "value", "source");
    for (row, text) in rows.iter().zip(&texts) {
        line(row.key, text, &row.source);
    }
    table
}

/// Formats the same rows as a JSON array of objects.
pub fn json(loaded: &Loaded) -> String {
    let objects = rows(loaded).into_iter();
    let objects = objects.map(|row| json!({"key": row.key, "value": row.value, "source": row.source}));
    format!("{:#}\n", Value::Array(objects.collect()))
}

fn rows(loaded: &Loaded) -> Vec<Row> {
    let settings = serde_json::to_value(&loaded.settings).expect("settings are numbers and texts");
    let value = |key: &str| if is_secret(key) { json!("***") } else { settings[key].clone() };
    let row = |(key, source): &(&'static str, _)| Row { key, value: value(key), source: format!("{source}") };
    loaded.sources.iter().map(row).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
