//! The exit codes of commands, and their failures.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::answer::is_control;
use super::progress;
use crate::system::secret;
use crate::telemetry::chain;

/// The exit codes, for `--help`.
pub(super) const CODES: &str = "\
Exit codes:
    0  done, or stopped on request
    1  failed: something outside the program did not work
    2  the command line or a setting is wrong
    3  the input is invalid, or a limit was reached
  130  interrupted before it was done";

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const INPUT: u8 = 3;
pub(super) const INTERRUPTED: u8 = 130;

/// A failure of a command, printed as one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A cause outside the program, such as a full disk or an unreachable server.
    #[error("{0}")]
    Failed(String),
    /// The command line or a setting is wrong.
    #[error("{0}")]
    Usage(String),
    /// The input is invalid, or a limit was reached.
    #[error("{0}")]
    Input(String),
    /// The command was ended by Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The reader of standard output has closed the pipe. No message is printed.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// Returns [`Failure::Failed`] with the message of `error` and of its causes.
    pub(super) fn because(error: &dyn Error) -> Self {
        Self::Failed(chain(error))
    }

    /// Returns the failure to read the file of settings or secrets that `option` names: the command line is wrong.
    pub(super) fn unusable(option: &str, path: &Path, error: &dyn fmt::Display) -> Self {
        Self::Usage(format!("{option} {}: {error}", path.display()))
    }

    /// Returns the failure to write to standard output.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("cannot write the output: {error}"))
        }
    }
}

/// Turns any error into [`Failure::Failed`].
pub(super) trait OrFail<T> {
    /// Returns the value, or [`Failure::Failed`] with the message of the error.
    fn or_fail(self) -> Result<T, Failure>;
}

impl<T, E: Error> OrFail<T> for Result<T, E> {
    fn or_fail(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::because(&error))
    }
}

impl From<crate::config::Error> for Failure {
    fn from(error: crate::config::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// A file with a secret that cannot be used is named on the command line or in a setting.
impl From<secret::Error> for Failure {
    fn from(error: secret::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Prints the failure, and returns the exit code.
pub(super) fn code(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let code = match failure {
        Failure::OutputClosed => return ExitCode::SUCCESS,
        Failure::Failed(_) => FAILED,
        Failure::Usage(_) => USAGE,
        Failure::Input(_) => INPUT,
        Failure::Interrupted => INTERRUPTED,
    };
    complain(&failure.to_string());
    ExitCode::from(code)
}

/// Writes an error to standard error. It may hold untrusted text, so terminal control characters become spaces.
pub(super) fn complain(sentence: &str) {
    let sentence = sentence.replace(|letter| letter != '\n' && is_control(letter), " ");
    progress::tell(&format!("entityd: {sentence}"));
}
