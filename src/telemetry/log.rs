//! Writes log lines to standard error, as text for people or as JSON objects for programs.
//!
//! A line is a readable sentence with fields. It contains no tokens, encodings or request bodies: secrets print as
//! `***`, and events of dependencies below `info` are not logged, since they may contain secrets.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};
use std::str::FromStr;
use std::thread;

use serde::{Serialize, Serializer};
use tracing::metadata::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

use super::recent::Recent;

/// The default for modules that the filter does not name: any client can make the TLS library warn.
const QUIET: &str = "rustls=error";

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The events that are logged.
    pub filter: Filter,
    /// The format of a line.
    pub format: Format,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// A sentence, then its fields.
    Text,
    /// One JSON object.
    Json,
}

/// A level (`info`), or levels by module (`warn,entityd::queue=debug`).
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    targets: Targets,
}

/// The error for an invalid log filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a level nor a list of module=level")]
pub struct BadFilter(String);

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let bad = || BadFilter(text.to_owned());
        // `Targets` accepts any word as a module, so a misspelt level would silence the log.
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let known = text.split(',').map(str::trim).all(|part| part.contains('=') || is_level(part));
        // If a module is named twice, the last level counts.
        let all = format!("{QUIET},{text}");
        let targets = known.then(|| all.parse().ok()).flatten().ok_or_else(bad)?;
        Ok(Self { text: text.to_owned(), targets })
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Starts logging for the whole process, including panics. A second call changes nothing.
pub fn start(settings: &Settings) {
    let terminal = std::io::stderr().is_terminal();
    let json = match settings.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colours).boxed()
    };
    let wanted = settings
        .filter
        .targets
        .clone()
        .and(dependency_levels())
        .and(filter_fn(|event| !tells_secrets(event.target())));
    // This function does not install a bridge for the crate `log`, to which sled and rustls write bytes and paths. An
    // error does not matter: only a test that starts two servers in one process calls it twice.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(lines.with_filter(wanted)).with(Recent),
    );
    panic::set_hook(Box::new(panicked));
}

/// Logs a panic. Includes its text only if the panic is in this program, since the text of a panic in a library may
/// contain data.
fn panicked(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let ours = location.starts_with("src/");
    let text = panic.payload_as_str().filter(|_| ours).unwrap_or("its text is withheld");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    tracing::error!(location, thread, backtrace, "a thread panicked: {text}; please report this line");
}

/// Returns the levels that may be logged: every level of this program, and `info` and above of dependencies. Below
/// `info`, dependencies log headers, frames and requests, which may contain tokens.
fn dependency_levels() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE)
}

/// Returns true for modules that are never logged: the S3 protocol library writes keys and computed signatures.
fn tells_secrets(module: &str) -> bool {
    module == "s3s" || module.starts_with("s3s::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_by_module() {
        for good in ["info", "WARN", "off", "info,entityd::queue=debug", "sled=error, debug"] {
            assert!(good.parse::<Filter>().is_ok(), "{good}");
        }
        let would_warn = |text: &str| {
            let filter: Filter = text.parse().unwrap();
            ["rustls::msgs", "entityd"]
                .map(|module| filter.targets.would_enable(module, &tracing::Level::WARN))
        };
        assert_eq!(would_warn("info"), [false, true]);
        assert_eq!(would_warn("error,rustls=debug"), [true, false]);
        for bad in ["", "verbose", "info,loud", "entityd=loud", "info,,"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
