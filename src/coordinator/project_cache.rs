//! A cache of projects for half a second: enough to decide whether a part of a run is still needed.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState};

/// The time for which a cached project may be used.
const MOMENT: Duration = Duration::from_millis(500);
/// The maximum number of cached entries. An entry is a project with one of its runs.
const PROJECTS_MAX: u64 = 16;

/// The projects that were read last, each with the runs that were loaded.
#[derive(Debug)]
pub(super) struct ProjectCache(Cache<(ProjectId, Runs), Arc<ProjectState>>);

impl Default for ProjectCache {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(PROJECTS_MAX).time_to_live(MOMENT).build())
    }
}

impl ProjectCache {
    /// Returns a project with the runs that `runs` selects, if it was read a moment ago.
    pub(super) fn recent(&self, id: ProjectId, runs: Runs) -> Option<Arc<ProjectState>> {
        self.0.get(&(id, runs))
    }

    /// Caches a project that was just read.
    pub(super) fn keep(&self, project: ProjectState, runs: Runs) -> Arc<ProjectState> {
        let project = Arc::new(project);
        self.0.insert((project.id, runs), Arc::clone(&project));
        project
    }
}
