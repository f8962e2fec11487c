//! Metrics of calls to the object store: duration and failures.

use std::future::Future;

use super::Error;
use crate::telemetry::metrics::Call;

/// Waits for a call of the store, and counts it under the name of its operation.
pub(super) async fn metered<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let began = Call::of_objects(operation);
    let answer = call.await;
    began.over(has_failed(&answer));
    answer
}

/// Makes a call of the store that blocks, and counts it like the others.
pub(super) fn metered_here<T>(
    operation: &'static str,
    call: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let began = Call::of_objects(operation);
    let answer = call();
    began.over(has_failed(&answer));
    answer
}

/// That there is no such object is an answer like any other.
const fn has_failed<T>(answer: &Result<T, Error>) -> bool {
    !matches!(answer, Ok(_) | Err(Error::Missing { .. }))
}
