//! The commands of analysts and data providers. They talk to a server that implements the API: entityd or the reference
//! service.

mod access;
mod api;
mod forecast;
mod profile;
mod project;
mod refusal;
mod result;
mod run;
mod store;
mod upload;

pub(super) use forecast::Arguments as Forecast;
pub(super) use project::Arguments as Project;
pub(super) use result::Arguments as ResultArguments;
pub(super) use run::Arguments as Run;
pub(super) use upload::Arguments as Upload;

use serde_json::Value;

use super::answer::plain;
use super::context::runtime;
use super::exit::Failure;
use super::interrupt::Unfinished;
use super::output::answer as show;

/// Runs the work of a command until it ends, or until the user interrupts it, also where the work does not wait.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime()?;
    Unfinished::watch(&runtime);
    runtime.block_on(work)
}

/// Formats a value from the server for a line or a table cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}
