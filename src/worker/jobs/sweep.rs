//! What is done every so often, as far as it is done to objects and files.

use std::time::Duration;

use crate::model::Outcome;
use crate::model::job::Chore;
use crate::runtime::clock::Clock;
use crate::worker::Error;
use crate::worker::active_jobs::Hold;
use crate::worker::context::Shop;

/// How long a file that is not written to may wait to become an object.
const STALE: Duration = Duration::from_hours(24);

/// Looks at what there is; what should not be is for the coordinator to say.
pub(super) async fn work(shop: &Shop, hold: &Hold, chore: Chore) -> Result<Outcome, Error> {
    let mut found = Vec::new();
    if chore == Chore::Sweep {
        shop.objects.confirm_owner().await?;
        // A wall clock that is ahead makes nothing stale.
        let now = Clock::system().now().min(Clock::system().steady());
        let stale = shop.objects.remove_stale(now, STALE).await?;
        if stale > 0 {
            tracing::warn!(files = stale, "files that were left behind are removed");
        }
        for project in shop.objects.projects().await? {
            if hold.cause().is_some() {
                return Err(Error::Cancelled);
            }
            found.push(shop.objects.holding(project).await?);
        }
    }
    if chore == Chore::Compact
        && let Some(uploads) = shop.objects.uploads()
    {
        uploads.compact().await?;
    }
    Ok(Outcome::Surveyed(found))
}
