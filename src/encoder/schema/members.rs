//! Members that several objects of a schema have.

use super::diagnostic::Diagnostic;
use crate::json::Node;

/// The value that marks a missing value, and its replacement.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) sentinel: String,
    pub(crate) replacement: String,
}

/// Compiles the member `missingValue`.
pub(super) fn missing(node: &Node) -> Missing {
    let sentinel = node.get("sentinel").and_then(Node::text).unwrap_or_default().to_owned();
    let replacement = node.get("replaceWith").and_then(Node::text).map(ToOwned::to_owned);
    Missing { replacement: replacement.unwrap_or_else(|| sentinel.clone()), sentinel }
}

/// Returns a member, which must be a whole number of at most `most`, written without a fraction.
pub(super) fn whole(node: &Node, path: &str, name: &str, most: usize) -> Result<Option<usize>, Diagnostic> {
    let Some(member) = node.get(name) else { return Ok(None) };
    let value = member.integer::<usize>().filter(|value| *value <= most);
    let refuse = || {
        let rule = format!("this must be a whole number of at most {most}, without a fraction");
        Diagnostic::new(member, &format!("{path}.{name}"), rule)
    };
    value.ok_or_else(refuse).map(Some)
}
