//! Periodically evicts stale entries of this worker's object cache. It is not a job of the queue, because every worker
//! must do it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::JobContext;

/// Drops cached copies of removed objects at this interval, until `stop` is cancelled.
pub(super) async fn run(context: &JobContext, every: Duration, stop: &CancellationToken) {
    let look = async {
        loop {
            sweep(context).await;
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = look => {}
    }
}

async fn sweep(context: &JobContext) {
    let gone = context.objects.sweep_copies().await;
    if !gone.is_empty() {
        tracing::debug!(objects = gone.len(), "removed cached copies of deleted objects");
        context.forget(|kept| gone.contains(kept));
    }
}
