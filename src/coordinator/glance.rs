//! Projects as they were a moment ago: enough to see that a part of a run is still wanted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{ProjectId, ProjectState};
use crate::runtime::clock::Stopwatch;

/// How long a moment is.
const MOMENT: Duration = Duration::from_millis(500);
/// Projects that are remembered.
const PROJECTS_MAX: usize = 16;

/// The projects that were read last.
#[derive(Debug, Default)]
pub(super) struct Glances(Mutex<VecDeque<(Stopwatch, Arc<ProjectState>)>>);

impl Glances {
    /// The project as it was a moment ago, if it was read then.
    pub(super) fn recent(&self, id: ProjectId) -> Option<Arc<ProjectState>> {
        let mut kept = self.lock();
        kept.retain(|(read, _)| read.elapsed() < MOMENT);
        kept.iter().find(|(_, project)| project.id == id).map(|(_, project)| Arc::clone(project))
    }

    /// Remembers a project that was read just now.
    pub(super) fn keep(&self, project: ProjectState) -> Arc<ProjectState> {
        let mut kept = self.lock();
        kept.retain(|(_, other)| other.id != project.id);
        if kept.len() == PROJECTS_MAX {
            kept.pop_front();
        }
        let project = Arc::new(project);
        kept.push_back((Stopwatch::start(), Arc::clone(&project)));
        project
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Stopwatch, Arc<ProjectState>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
