//! Sources of values.

use std::fmt;
use std::path::PathBuf;

/// The source of a value; the first in this order wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag(String),
    /// The environment, under this program's name.
    Environment(String),
    /// The settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The environment, under the reference service's name.
    Alias(&'static str),
    /// The built-in default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File { path, line } => write!(f, "file {} line {line}", path.display()),
            Self::Alias(variable) => write!(f, "environment {variable}"),
            Self::Default => f.write_str("default"),
        }
    }
}
