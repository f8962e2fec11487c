//! The endpoints of the REST API, one file for each subject. The spellings of the public API are confined to this
//! module.

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
