//! The endpoints of the REST API, one file for each subject. The spellings of the public API are confined to this
//! module.

mod accepted;
pub(super) mod authorize;
pub(super) mod clks;
pub(super) mod forecasts;
pub(super) mod new_project;
pub(super) mod partial_uploads;
pub(super) mod projects;
pub(super) mod results;
pub(super) mod run_status;
pub(super) mod runs;
pub(super) mod status;
mod twice;

pub use partial_uploads::remove_unneeded;
