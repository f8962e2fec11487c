//! Forecasts runs from a sample of the parties' data.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::StatusCode;
use linkage::encoding::layout::Index;
use linkage::forecast::{Dataset, Forecast, forecast};
use linkage::similarity::{Kernel, expected_per_second};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ApiState;
use super::problem::Problem;
use crate::model::{Party, ProjectState, Threshold};
use crate::objects::{Blob, keys};
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute;
use crate::runtime::entropy::Entropy;
use crate::telemetry::chain;

/// The target duration of the comparisons of a forecast.
const AIM: Duration = Duration::from_millis(400);
/// The time after which no further round of the sample is compared.
const TIME_MAX: Duration = Duration::from_millis(700);
/// The maximum time for which a forecast waits for another one.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// The bytes of a candidate pair on disk.
const PAIR_BYTES: f64 = 24.0;

/// Forecasts are made one at a time, so that they take little processor time from runs.
static TURN: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));

/// A forecast, and the cost of a run.
pub(super) struct Outlook {
    /// The forecast.
    pub(super) forecast: Forecast,
    /// The expected time of a run at each threshold, in seconds.
    pub(super) seconds: Vec<f64>,
    /// The expected size of the candidate pairs at each threshold, in bytes.
    pub(super) bytes: Vec<f64>,
    /// For each threshold, a warning if a run would exceed a limit.
    pub(super) warnings: Vec<Option<String>>,
}

/// Forecasts a run of a project at these thresholds.
///
/// # Errors
/// 409 until the data of all parties is ready; 503 if another forecast takes too long.
pub(super) async fn outlook(
    state: &ApiState,
    project: &ProjectState,
    thresholds: Vec<Threshold>,
) -> Result<Outlook, Problem> {
    let ready: Vec<_> = project.parties.iter().map_while(Party::dataset).collect();
    if ready.len() < project.parties.len() {
        let detail = "there is no forecast until the data of all parties is ready";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let turn = timeout(TURN_WAIT_MAX, TURN.acquire()).await;
    let _turn = turn.map_err(|_| Problem::busy("another forecast is being made"))?;
    let mut blobs = Vec::with_capacity(ready.len());
    for (party, dataset) in (0..).zip(&ready) {
        let matrix = state.objects.blob(&keys::matrix(project.id, party, dataset.upload)).await?;
        let index = state.objects.blob(&keys::index(project.id, party, dataset.upload)).await?;
        blobs.push((matrix, index, dataset.upload));
    }
    let bytes = ready.first().map_or(1, |dataset| dataset.encoding_bytes as usize);
    let lowest = thresholds.iter().map(|threshold| threshold.get()).fold(1.0, f64::min);
    let budget = (expected_per_second(Kernel::best(), bytes, 0.0) * AIM.as_secs_f64()) as u64;
    tracing::debug!(project.id = %project.id, lowest, budget, "forecasting");
    let wanted = thresholds.clone();
    let made = compute::run_blocking(move || sample(&blobs, &wanted, budget)).await;
    let forecast = made.map_err(|_| Problem::unexplained())??;
    let measured = state.coordinator.status().await?.rate;
    let threads = std::thread::available_parallelism().map_or(1.0, |threads| threads.get() as f64);
    let rules = state.coordinator.rules();
    let (mut seconds, mut sizes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for estimate in &forecast.estimates {
        let expected = expected_per_second(Kernel::best(), bytes, estimate.threshold.get()) * threads;
        // The rate of a short run is low, since its start takes most of the time.
        let rate = measured.map_or(expected, |measured| (measured as f64).max(expected / 4.0));
        seconds.push(forecast.comparisons as f64 / rate);
        sizes.push(estimate.pairs * PAIR_BYTES);
        warnings.push(warning(estimate.interval[1], rules.solver_pairs_max.min(rules.run_pairs_max)));
    }
    Ok(Outlook { forecast, seconds, bytes: sizes, warnings })
}

fn warning(pairs_high: f64, limit: u64) -> Option<String> {
    (pairs_high > limit as f64).then(|| {
        format!(
            "a run may find more than {limit} pairs and fail; choose a higher threshold, or ask the operator for a \
             higher limit"
        )
    })
}

/// Draws the sample. Blocks.
fn sample(blobs: &[(Blob, Blob, u32)], thresholds: &[Threshold], budget: u64) -> Result<Forecast, Problem> {
    let open = |(matrix, index, _): &(Blob, Blob, u32)| -> Result<(), Problem> {
        matrix.check().and_then(|()| index.check()).map_err(|error| unusable(&error))
    };
    let mut datasets = Vec::with_capacity(blobs.len());
    for (matrix, index, upload) in blobs {
        let parsed =
            Index::parse(index).and_then(|parsed| parsed.header().check_upload(*upload).map(|()| parsed));
        let parsed = parsed.map_err(|damage| unusable(&index.damaged(damage.to_string())))?;
        datasets.push(Dataset { matrix, index: parsed });
    }
    let stopwatch = Stopwatch::start();
    let seed = Entropy::system().bytes();
    let made = forecast(&datasets, thresholds, budget, seed, &|| stopwatch.elapsed() < TIME_MAX);
    blobs.iter().try_for_each(open)?;
    made.map_err(|error| unusable(&error))
}

/// Returns 500: the stored data of a party is damaged. Logs the cause.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!("a run cannot be forecast: {}", chain(error));
    Problem::failed(
        "Data Unusable",
        "the stored data of a party is missing or damaged; ask the operator to restore it from a backup",
    )
}
