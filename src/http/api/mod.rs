//! The endpoints of the REST API, a file per subject. The spellings of the public API stay in here.

pub(super) mod authorize;
pub(super) mod clks;
pub(super) mod forecasts;
pub(super) mod new_project;
pub(super) mod projects;
pub(super) mod results;
pub(super) mod run_status;
pub(super) mod runs;
pub(super) mod status;
mod twice;
