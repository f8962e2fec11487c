//! Projects as they were a moment ago: enough to see that a part of a run is still wanted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState};
use crate::runtime::clock::Stopwatch;

/// The time for which a cached project may be used.
const MOMENT: Duration = Duration::from_millis(500);
/// Projects that are remembered, each with one of its runs.
const PROJECTS_MAX: usize = 16;

/// A project with these of its runs, and when it was read.
#[derive(Debug)]
struct CachedProject {
    read: Stopwatch,
    runs: Runs,
    project: Arc<ProjectState>,
}

/// The projects that were read last.
#[derive(Debug, Default)]
pub(super) struct ProjectCache(Mutex<VecDeque<CachedProject>>);

impl ProjectCache {
    /// The project with these of its runs as it was a moment ago, if it was read then.
    pub(super) fn recent(&self, id: ProjectId, runs: Runs) -> Option<Arc<ProjectState>> {
        let mut kept = self.0.lock();
        kept.retain(|glance| glance.read.elapsed() < MOMENT);
        let found = kept.iter().find(|glance| glance.project.id == id && glance.runs == runs);
        found.map(|glance| Arc::clone(&glance.project))
    }

    /// Remembers a project that was read just now.
    pub(super) fn keep(&self, project: ProjectState, runs: Runs) -> Arc<ProjectState> {
        let mut kept = self.0.lock();
        kept.retain(|glance| glance.project.id != project.id || glance.runs != runs);
        if kept.len() == PROJECTS_MAX {
            kept.pop_front();
        }
        let project = Arc::new(project);
        kept.push_back(CachedProject { read: Stopwatch::start(), runs, project: Arc::clone(&project) });
        project
    }
}
