//! The maintenance job: removes stale files and surveys stored projects.

use std::time::Duration;

use crate::model::Outcome;
use crate::model::job::Chore;
use crate::runtime::clock::Clock;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;

/// The time without a write after which a staged file is stale.
const STALE: Duration = Duration::from_hours(24);

/// Removes stale files, and lists the stored objects. The coordinator decides which of them should not exist.
pub(super) async fn work(context: &JobContext, active: &ActiveJob, chore: Chore) -> Result<Outcome, Error> {
    let mut found = Vec::new();
    if chore == Chore::Sweep {
        context.objects.confirm_owner().await?;
        // The earlier of both clocks, so that a wall clock that is ahead makes no file stale.
        let now = Clock::system().now().min(Clock::system().steady());
        let stale = context.objects.remove_stale(now, STALE).await?;
        if stale > 0 {
            tracing::warn!(files = stale, "removing stale files");
        }
        for project in context.objects.projects().await? {
            if active.cause().is_some() {
                return Err(Error::Cancelled);
            }
            found.push(context.objects.holding(project).await?);
        }
    }
    if chore == Chore::Compact
        && let Some(uploads) = &context.client_files.bucket
    {
        uploads.compact().await?;
    }
    Ok(Outcome::Surveyed(found))
}
