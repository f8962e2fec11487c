//! Removes old multipart uploads that were not completed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::buckets::Buckets;
use crate::runtime::clock::Clock;
use crate::telemetry::chain;

/// The interval between removals. The server's run time after its last removal does not count as age of an upload.
const EVERY: Duration = Duration::from_mins(10);

/// Removes multipart uploads older than `age`, measured in run time of the server, now and every ten minutes until
/// `stop`.
pub async fn sweep(buckets: Buckets, age: Duration, stop: CancellationToken) {
    let mut looked = Clock::system().steady();
    loop {
        let now = Clock::system().steady();
        match buckets.sweep(now.since(looked), age).await {
            Ok(0) => looked = now,
            Ok(count) => {
                looked = now;
                tracing::info!(count, "removed abandoned multipart uploads");
            }
            Err(error) => tracing::warn!("cannot look for abandoned uploads: {}", chain(&error)),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
