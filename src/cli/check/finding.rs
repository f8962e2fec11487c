//! The outcome of a check.

use serde::Serialize;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warning,
    Failed,
}

/// A check with its outcome.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Ok, detail: detail.into() }
    }

    pub(super) fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Warning, detail: detail.into() }
    }

    pub(super) fn failed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Failed, detail: detail.into() }
    }
}
