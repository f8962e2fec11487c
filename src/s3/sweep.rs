//! Uploads in parts that nobody completes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::objects::buckets::Buckets;
use crate::telemetry::chain;

/// How often they are looked for.
const EVERY: Duration = Duration::from_hours(1);

/// Removes uploads in parts that began longer than `age` ago, now and every hour until `stop`.
pub async fn sweep(buckets: Buckets, age: Duration, stop: CancellationToken) {
    loop {
        match buckets.sweep(age).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed uploads in parts that were abandoned"),
            Err(error) => tracing::warn!("cannot look for abandoned uploads: {}", chain(&error)),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
