//! What each worker keeps of objects on its own disk is looked through by itself: it is not a job, because another
//! worker would look at its own.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::JobContext;

/// Drops copies of objects that others have removed, at once and then every so often, until told to stop.
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
        tracing::debug!(objects = gone.len(), "copies of objects that are gone are dropped");
        context.forget(|kept| gone.contains(kept));
    }
}
