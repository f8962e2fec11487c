//! Sources of values.

use std::fmt;
use std::path::PathBuf;

/// The source of a value. The sources are in the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag(String),
    /// The environment, in a variable of this program.
    Environment(String),
    /// The settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The environment, in a variable of the reference service.
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
