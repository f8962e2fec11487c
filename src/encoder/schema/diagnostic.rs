//! Diagnostics of a schema.

use std::fmt;

use crate::json::{Node, line_and_column};

/// A mistake, or a warning, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    at: usize,
    /// Line of the value, from 1.
    pub line: usize,
    /// Column of the value, from 1.
    pub column: usize,
    /// The value's path in the schema: `features[2].hashing.strategy`.
    pub path: String,
    /// The rule that the value breaks.
    pub rule: String,
}

impl Diagnostic {
    pub(crate) fn new(node: &Node, path: &str, rule: impl Into<String>) -> Self {
        Self { at: node.at, line: 0, column: 0, path: path.to_owned(), rule: rule.into() }
    }

    /// Sets the line and column.
    pub(super) fn locate(&mut self, text: &str) {
        (self.line, self.column) = line_and_column(text, self.at);
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.rule)
    }
}

/// The mistakes in a schema, at least one, in text order.
#[derive(Clone, Debug)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(text: &str, mut mistakes: Vec<Diagnostic>) -> Self {
        mistakes.iter_mut().for_each(|mistake| mistake.locate(text));
        mistakes.sort_by_key(|mistake| mistake.at);
        Self(mistakes)
    }

    pub(crate) fn syntax(error: &serde_json::Error) -> Self {
        let said = error.to_string();
        let rule = said.split(" at line ").next().unwrap_or(&said);
        let rule = format!("this is not JSON: {rule}");
        Self(vec![Diagnostic {
            at: 0,
            line: error.line(),
            // The column of an early end is 0.
            column: error.column().max(1),
            path: String::new(),
            rule,
        }])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Diagnostic::to_string).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Diagnostics {}
