//! Measures database calls.

use super::store::Error;
use crate::telemetry::metrics::Call;

/// Runs `work`, and records its duration and failure as metrics.
pub(super) async fn counted<T, E: Into<Error>>(
    operation: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    let call = Call::of_metadata(operation);
    let done = work.await;
    call.over(done.is_err());
    done.map_err(E::into)
}
