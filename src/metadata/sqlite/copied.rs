//! Lists the projects and uploads in a copy of the metadata, for backups.

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::ProjectId;
use crate::system::sqlite::{Error, copy};

/// Returns the projects in the copy at `path`.
///
/// # Errors
/// [`Error`].
pub fn projects(path: &Path) -> Result<BTreeSet<ProjectId>, Error> {
    copy::read(path, |copy| {
        let mut select = copy.prepare("SELECT id FROM projects")?;
        let found = select.query_map([], |row| row.get(0).map(ProjectId::from_bytes))?;
        Ok(found.collect::<Result<_, _>>()?)
    })
}

/// Returns the uploads in the copy at `path` that are ready to be compared: project, party and number.
///
/// # Errors
/// [`Error`].
pub fn ready_uploads(path: &Path) -> Result<Vec<(ProjectId, u32, u32)>, Error> {
    copy::read(path, |copy| {
        let ready =
            "SELECT project, party, upload FROM parties WHERE contents = 'ready' AND upload IS NOT NULL";
        let mut select = copy.prepare(ready)?;
        let found = select
            .query_map([], |row| Ok((row.get(0).map(ProjectId::from_bytes)?, row.get(1)?, row.get(2)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    })
}
