//! Forecasts of runs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::forecast::{Outlook, outlook};
use crate::http::problem::Problem;
use crate::http::responses::{Guarded, NoForecast, SmallBody};
use crate::model::Threshold;

/// The maximum number of thresholds of a forecast.
const THRESHOLDS_MAX: usize = 100;

/// The thresholds to forecast runs for.
#[derive(Deserialize, ToSchema)]
#[schema(description = "The thresholds to forecast runs for. Members that are not listed are ignored.")]
pub(in crate::http) struct NewForecast {
    /// From 1 to 100 thresholds, each above 0 and at most 1.
    #[schema(schema_with = crate::http::schemas::thresholds)]
    thresholds: Vec<f64>,
}

/// The forecast of runs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RunForecast {
    /// The exact number of comparisons in a run.
    #[schema(example = 100_000_000)]
    comparisons: u64,
    /// The comparisons that the forecast made.
    compared: u64,
    /// Set if the forecast has compared everything, so that its numbers of pairs are exact.
    exact: bool,
    /// A forecast for each threshold, in the order of the request.
    thresholds: Vec<ThresholdForecast>,
    /// The estimated comparisons by similarity, one number for each hundredth from 0.00 on. The last of the 101
    /// numbers is for a similarity of 1.
    histogram: Vec<f64>,
}

/// The forecast of a run.
#[derive(Serialize, ToSchema)]
struct ThresholdForecast {
    #[schema(schema_with = crate::http::schemas::threshold)]
    threshold: f64,
    /// The estimated number of candidate pairs, each counted once.
    pairs: f64,
    /// The lower end of an interval that contains the true number of pairs in 19 of 20 cases.
    pairs_low: f64,
    /// The upper end of the same interval.
    pairs_high: f64,
    /// The estimated time of the comparisons, in seconds.
    seconds: f64,
    /// The estimated size of the candidate pairs on the disk, in bytes.
    bytes: f64,
    /// The limit that the run may exceed; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// Forecast runs
///
/// Forecasts the cost and the result of runs before one is posted. Small projects are compared completely. Larger
/// projects are sampled, in less than a second. An addition to the reference service.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/forecast", tag = "runs", operation_id = "forecastRuns", request_body = NewForecast,
    params(("project_id" = String, Path, description = "The project.")),
    security(("result_token" = [])),
    responses((status = 200, description = "The forecast.", body = RunForecast), Guarded, SmallBody, NoForecast))]
pub(in crate::http) async fn forecast(
    State(state): State<ApiState>,
    caller: Caller,
    body::Json(new): body::Json<NewForecast>,
) -> Result<Json<RunForecast>, Problem> {
    let project = caller.owner(&state).await?;
    let count = new.thresholds.len();
    if count == 0 || count > THRESHOLDS_MAX {
        let detail = format!("`thresholds`: expected 1 to {THRESHOLDS_MAX} numbers, found {count}");
        return Err(Problem::bad_request(detail));
    }
    let thresholds: Result<Vec<Threshold>, _> = new.thresholds.into_iter().map(Threshold::new).collect();
    let thresholds = thresholds
        .map_err(|_| Problem::bad_request("`thresholds`: expected numbers above 0 and at most 1"))?;
    Ok(Json(outlook(&state, &project, thresholds).await?.into()))
}

impl From<Outlook> for RunForecast {
    fn from(outlook: Outlook) -> Self {
        let Outlook { forecast, seconds, bytes, warnings } = outlook;
        let figures = seconds.into_iter().zip(bytes).zip(warnings);
        let thresholds = forecast.estimates.iter().zip(figures);
        Self {
            comparisons: forecast.comparisons,
            compared: forecast.compared,
            exact: forecast.is_exact,
            thresholds: thresholds
                .map(|(estimate, ((seconds, bytes), warning))| ThresholdForecast {
                    threshold: estimate.threshold.get(),
                    pairs: estimate.pairs,
                    pairs_low: estimate.interval[0],
                    pairs_high: estimate.interval[1],
                    seconds,
                    bytes,
                    warning,
                })
                .collect(),
            histogram: forecast.histogram,
        }
    }
}
