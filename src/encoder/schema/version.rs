//! Versions of the format of schemas.

use super::diagnostic::Diagnostic;
use crate::json::{Node, Value};

/// The version of a schema's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Version 1 has one hash function and one weight scheme for all columns.
    V1,
    /// Version 2 has a strategy and a hash function for each column.
    V2,
    /// Version 3 also has several kinds of comparison.
    V3,
}

impl Version {
    /// Returns the version that a schema declares.
    pub(super) fn of(node: &Node) -> Result<Self, Diagnostic> {
        if !matches!(node.value, Value::Object(_)) {
            return Err(Diagnostic::new(node, "", "a schema is a JSON object"));
        }
        let Some(version) = node.get("version") else {
            return Err(Diagnostic::new(node, "", "the version is missing: \"version\": 3"));
        };
        match version.float().filter(|number| number.fract() == 0.0).map(|number| number as i64) {
            Some(1) => Ok(Self::V1),
            Some(2) => Ok(Self::V2),
            Some(3) => Ok(Self::V3),
            _ => {
                let rule = "the versions of linkage schemas are the numbers 1, 2 and 3";
                Err(Diagnostic::new(version, "version", rule))
            }
        }
    }

    /// The number of the version.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}
