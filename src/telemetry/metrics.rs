//! Metrics in the text format of Prometheus.
//!
//! The list below has every metric family. Other modules use the functions of this file or the macros of the crate
//! `metrics`. Counting has no effect until the metrics are [started](start); `entityd link` never starts them. No label
//! contains a token, an identifier or other text that a client chose.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use super::process::Process;
use crate::runtime::clock::{Clock, Stopwatch};

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A value that only grows during the life of the process.
    Counter,
    /// A value that may grow and shrink.
    Gauge,
    /// A histogram of seconds with bounds for calls and requests.
    Short,
    /// A histogram of seconds with bounds for jobs and runs.
    Long,
    /// A histogram of fractions.
    Ratio,
    /// A histogram of counts.
    Amount,
}

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

/// Turns the list below into a constant for each family and [`FAMILIES`].
macro_rules! families {
    ($(#[doc = $help:literal] $name:ident: $kind:ident = $text:literal;)+) => {
        $(#[doc = $help] pub const $name: &str = $text;)+

        const FAMILIES: &[Family] = &[
            $(Family { name: $name, kind: Kind::$kind, help: $help.trim_ascii() },)+
        ];
    };
}

families! {
    /// Requests answered, by listener, route template, method and status.
    REQUESTS: Counter = "entityd_http_requests_total";
    /// Time from a request's header to the header of its answer, by listener, route template and method.
    REQUEST_SECONDS: Short = "entityd_http_request_duration_seconds";
    /// Requests rejected by a rate limit, by limit.
    RATE_LIMITED: Counter = "entityd_http_requests_limited_total";
    /// Requests whose answer has not begun.
    REQUESTS_NOW: Gauge = "entityd_http_requests_in_progress";
    /// Uploads that ended, by form (json, binary) and outcome (accepted, refused).
    UPLOADS: Counter = "entityd_uploads_total";
    /// Bytes of upload bodies that arrived.
    UPLOAD_BYTES: Counter = "entityd_upload_bytes_total";
    /// Uploads whose body is arriving.
    UPLOADS_NOW: Gauge = "entityd_uploads_in_progress";
    /// Bytes of uploads in the spool.
    SPOOL_BYTES: Gauge = "entityd_spool_bytes";
    /// Jobs by queue and state (ready, delayed, leased, dead).
    JOBS: Gauge = "entityd_queue_jobs";
    /// Time that jobs waited while they were ready, by queue.
    QUEUE_WAIT_SECONDS: Long = "entityd_queue_wait_duration_seconds";
    /// 1 for a paused queue, else 0.
    QUEUE_PAUSED: Gauge = "entityd_queue_paused";
    /// Age of the oldest ready job of a queue.
    QUEUE_OLDEST_SECONDS: Gauge = "entityd_queue_oldest_ready_job_age_seconds";
    /// Jobs enqueued, acknowledged and failed per second, over the last minute, by queue and event.
    QUEUE_RATE: Gauge = "entityd_queue_events_per_second";
    /// Estimated time to finish the waiting jobs of a queue at the rate of the last minute; scale workers by it.
    QUEUE_BACKLOG_SECONDS: Gauge = "entityd_queue_backlog_seconds";
    /// Age of the oldest lease.
    LEASE_SECONDS: Gauge = "entityd_oldest_lease_age_seconds";
    /// Jobs that ended, by kind and outcome.
    JOBS_DONE: Counter = "entityd_jobs_total";
    /// Time that jobs were leased, by kind.
    JOB_SECONDS: Long = "entityd_job_duration_seconds";
    /// Pairs of encodings compared.
    COMPARISONS: Counter = "entityd_comparisons_total";
    /// Recent rate of comparisons per second while comparing.
    COMPARISON_RATE: Gauge = "entityd_comparisons_per_second";
    /// Candidate pairs found; a pair found in several blocks counts each time.
    PAIRS: Counter = "entityd_candidate_pairs_total";
    /// Time from the request of a run to its end, by result type and outcome (completed, failed).
    RUN_SECONDS: Long = "entityd_run_duration_seconds";
    /// Time that runs spent in a completed stage (waiting, comparing, finalizing), by result type and stage.
    RUN_STAGE_SECONDS: Long = "entityd_run_stage_duration_seconds";
    /// Share of a run's comparisons in its largest block, for runs with blocks.
    LARGEST_BLOCK_RATIO: Ratio = "entityd_run_largest_block_ratio";
    /// Comparisons of the largest block of a run, for runs with blocks.
    LARGEST_BLOCK: Amount = "entityd_run_largest_block_comparisons";
    /// Projects that exist.
    PROJECTS: Gauge = "entityd_projects";
    /// Duration of calls to the object store, by operation.
    OBJECT_SECONDS: Short = "entityd_object_store_call_duration_seconds";
    /// Failed calls to the object store, by operation.
    OBJECT_ERRORS: Counter = "entityd_object_store_call_errors_total";
    /// Reads of the object store answered from the cache.
    CACHE_HITS: Counter = "entityd_object_cache_hits_total";
    /// Reads of the object store without a valid cached copy.
    CACHE_MISSES: Counter = "entityd_object_cache_misses_total";
    /// Cached objects evicted to make room.
    CACHE_EVICTIONS: Counter = "entityd_object_cache_evictions_total";
    /// Bytes of cached objects on the disk.
    CACHE_BYTES: Gauge = "entityd_object_cache_bytes";
    /// Projects, uploads and runs in the object store that the metadata does not know, at the last maintenance.
    UNKNOWN_OBJECTS: Gauge = "entityd_unknown_objects";
    /// Duration of calls to the metadata store, by operation.
    METADATA_SECONDS: Short = "entityd_metadata_call_duration_seconds";
    /// Failed calls to the metadata store, by operation.
    METADATA_ERRORS: Counter = "entityd_metadata_call_errors_total";
    /// Bytes that this process may still write to the disk of the data directory.
    DISK_FREE_BYTES: Gauge = "entityd_disk_free_bytes";
    /// The size of the disk of the data directory.
    DISK_BYTES: Gauge = "entityd_disk_size_bytes";
    /// 1 if a dependency answers, else 0.
    READY: Gauge = "entityd_dependency_up";
    /// Nodes that an API node knows, by role and state (joined, draining, drained, silent).
    NODES: Gauge = "entityd_nodes";
    /// Jobs that workers on other machines hold, by the name of the machine.
    NODE_JOBS: Gauge = "entityd_node_jobs";
    /// Always 1; its labels are the role and the machine of this node.
    NODE: Gauge = "entityd_node_info";
    /// Always 1; its labels are the version and the build.
    BUILD: Gauge = "entityd_build_info";
    /// Memory that the process has in RAM.
    RESIDENT_BYTES: Gauge = "process_resident_memory_bytes";
    /// Address space of the process.
    VIRTUAL_BYTES: Gauge = "process_virtual_memory_bytes";
    /// Open file descriptors of the process.
    OPEN_FILES: Gauge = "process_open_fds";
    /// Limit of open file descriptors.
    OPEN_FILES_MAX: Gauge = "process_max_fds";
    /// Threads of the process.
    THREADS: Gauge = "process_threads";
    /// The start time of the process, in seconds since 1970.
    START_SECONDS: Gauge = "process_start_time_seconds";
}

/// The bounds of histograms of calls and requests, in seconds.
const SHORT: [f64; 14] =
    [0.000_1, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// The bounds of histograms of jobs and runs, in seconds.
const LONG: [f64; 15] =
    [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_200.0, 3_600.0, 14_400.0];
/// The bounds of histograms of fractions.
const RATIO: [f64; 8] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99];
/// The bounds of histograms of counts.
const AMOUNT: [f64; 7] = [1e3, 1e5, 1e7, 1e8, 1e9, 1e10, 1e12];

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct MetricsHandle(Option<PrometheusHandle>);

/// Starts counting for the whole process. A second call returns the same metrics.
pub fn start() -> MetricsHandle {
    MetricsHandle(HANDLE.get_or_init(install).clone())
}

fn install() -> Option<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for family in FAMILIES {
        let bounds = match family.kind {
            Kind::Counter | Kind::Gauge => continue,
            Kind::Short => SHORT.as_slice(),
            Kind::Long => LONG.as_slice(),
            Kind::Ratio => RATIO.as_slice(),
            Kind::Amount => AMOUNT.as_slice(),
        };
        let matcher = Matcher::Full(family.name.to_owned());
        builder = builder.set_buckets_for_metric(matcher, bounds).expect("there are bounds");
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // Fails if a recorder is already installed, which only tests do.
    metrics::set_global_recorder(recorder).ok()?;
    describe();
    metrics::gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!(START_SECONDS).set(Clock::system().now().as_micros() as f64 / 1e6);
    // Registers the counters with 0: a monitor detects the first event only if it has read a 0 before.
    for family in [COMPARISONS, PAIRS, UPLOAD_BYTES, CACHE_HITS, CACHE_MISSES, CACHE_EVICTIONS] {
        metrics::counter!(family).increment(0);
    }
    for family in [REQUESTS_NOW, UPLOADS_NOW, SPOOL_BYTES, LEASE_SECONDS, COMPARISON_RATE, CACHE_BYTES] {
        metrics::gauge!(family).set(0.0);
    }
    Some(handle)
}

fn describe() {
    for Family { name, kind, help } in FAMILIES {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Short | Kind::Long | Kind::Ratio | Kind::Amount => {
                metrics::describe_histogram!(*name, *help);
            }
        }
    }
}

impl MetricsHandle {
    /// Returns all metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        let counted = self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        counted + &Process::look().cpu_text()
    }

    /// Aggregates the measurements since the last call. Must be called every few seconds, because each measurement
    /// takes memory until it is aggregated.
    pub fn tidy(&self) {
        if let Some(handle) = &self.0 {
            handle.run_upkeep();
        }
    }
}

/// Sets the labels of this node.
pub fn node(role: &'static str, name: &str) {
    metrics::gauge!(NODE, "role" => role, "node" => name.to_owned()).set(1.0);
}

/// Counts a request that was answered. `route` is a template, and `method` is from a fixed list.
pub fn request(listener: &'static str, route: &str, method: &'static str, status: u16, seconds: f64) {
    SERIES.with_borrow_mut(|known| {
        let is = |one: &Series| {
            (one.status, one.method, one.listener) == (status, method, listener) && one.route == route
        };
        let place = known.iter().position(is).unwrap_or_else(|| {
            known.push(Series::new(listener, route, method, status));
            known.len() - 1
        });
        known[place].duration.record(seconds);
        known[place].count.increment(1);
    });
}

thread_local! {
    /// The counters of requests, cached for each thread, because a lookup by labels costs as much as a small response.
    static SERIES: RefCell<Vec<Series>> = const { RefCell::new(Vec::new()) };
}

/// The counters of requests with the same labels.
struct Series {
    listener: &'static str,
    route: String,
    method: &'static str,
    status: u16,
    count: Counter,
    duration: Histogram,
}

impl Series {
    fn new(listener: &'static str, route: &str, method: &'static str, status: u16) -> Self {
        let labels = vec![
            Label::from_static_parts("listener", listener),
            Label::new("route", route.to_owned()),
            Label::from_static_parts("method", method),
        ];
        let duration = metrics::histogram!(REQUEST_SECONDS, labels.clone());
        let labels: Vec<Label> =
            labels.into_iter().chain([Label::new("status", status.to_string())]).collect();
        let count = metrics::counter!(REQUESTS, labels);
        Self { listener, route: route.to_owned(), method, status, count, duration }
    }
}

/// Counts a request that the rate limit `limit` rejected.
pub fn too_soon(limit: &'static str) {
    metrics::counter!(RATE_LIMITED, "limit" => limit).increment(1);
}

/// Sets the bytes of uploads in the spool.
pub fn spool(bytes: u64) {
    metrics::gauge!(SPOOL_BYTES).set(bytes as f64);
}

/// Counts a read that was answered from the cache.
pub fn cache_hit() {
    metrics::counter!(CACHE_HITS).increment(1);
}

/// Counts a read without a valid cached copy.
pub fn cache_missed() {
    metrics::counter!(CACHE_MISSES).increment(1);
}

/// Counts cached objects that were evicted.
pub fn cache_evicted(copies: usize) {
    metrics::counter!(CACHE_EVICTIONS).increment(copies as u64);
}

/// Sets the bytes of the cached objects.
pub fn cache_bytes(bytes: u64) {
    metrics::gauge!(CACHE_BYTES).set(bytes as f64);
}

/// Sets the number of projects, uploads and runs that have objects and are unknown to the metadata.
pub fn unknown_objects(count: usize) {
    metrics::gauge!(UNKNOWN_OBJECTS).set(count as f64);
}

/// Counts an upload that has ended.
pub fn upload(form: &'static str, accepted: bool) {
    let outcome = if accepted { "accepted" } else { "refused" };
    metrics::counter!(UPLOADS, "form" => form, "outcome" => outcome).increment(1);
}

/// Counts bytes of an upload's body that have arrived.
pub fn upload_arrived(bytes: usize) {
    metrics::counter!(UPLOAD_BYTES).increment(bytes as u64);
}

/// Counts a job that has ended, after it was leased for `seconds`.
pub fn job(kind: &'static str, outcome: &'static str, seconds: f64) {
    metrics::counter!(JOBS_DONE, "kind" => kind, "outcome" => outcome).increment(1);
    metrics::histogram!(JOB_SECONDS, "kind" => kind).record(seconds);
}

/// Records the time for which a job was ready before it was claimed.
pub fn claimed(queue: &str, seconds: f64) {
    metrics::histogram!(QUEUE_WAIT_SECONDS, "queue" => queue.to_owned()).record(seconds);
}

/// Counts a run that has ended.
pub fn run(result_type: &'static str, outcome: &'static str, seconds: f64) {
    metrics::histogram!(RUN_SECONDS, "result_type" => result_type, "outcome" => outcome).record(seconds);
}

/// Records the largest block of a run that was planned.
pub fn largest_block(comparisons: u64, share: f64) {
    metrics::histogram!(LARGEST_BLOCK_RATIO).record(share);
    metrics::histogram!(LARGEST_BLOCK).record(comparisons as f64);
}

/// Counts a stage that a run has completed.
pub fn stage(result_type: &'static str, stage: &'static str, seconds: f64) {
    metrics::histogram!(RUN_STAGE_SECONDS, "result_type" => result_type, "stage" => stage).record(seconds);
}

/// The time after a comparison during which the rate counts as recent, since the next part may take that long.
const COMPARED_LATELY: Duration = Duration::from_secs(30);

/// The time of the latest comparison.
static COMPARED: Mutex<Option<Stopwatch>> = Mutex::new(None);

/// Counts comparisons, and updates their recent rate.
pub fn compared(comparisons: u64, per_second: f64) {
    metrics::counter!(COMPARISONS).increment(comparisons);
    *COMPARED.lock() = Some(Stopwatch::start());
    metrics::gauge!(COMPARISON_RATE).set(per_second);
}

/// Clears the rate if nothing is being compared.
fn rest() {
    let mut compared = COMPARED.lock();
    if compared.take_if(|since| since.elapsed() > COMPARED_LATELY).is_some() {
        metrics::gauge!(COMPARISON_RATE).set(0.0);
    }
}

/// Sets the age of the oldest lease; 0 if there is none.
pub fn oldest_lease(seconds: f64) {
    metrics::gauge!(LEASE_SECONDS).set(seconds);
}

/// Counts candidate pairs.
pub fn found(pairs: u64) {
    metrics::counter!(PAIRS).increment(pairs);
}

/// Sets whether a dependency answers.
pub fn up(dependency: &'static str, answers: bool) {
    metrics::gauge!(READY, "dependency" => dependency).set(f64::from(u8::from(answers)));
}

/// Updates the metrics of the operating system about this process, and removes the metrics of resources that it no
/// longer has.
pub fn process() {
    rest();
    let process = Process::look();
    for (family, value) in [
        (RESIDENT_BYTES, process.resident_bytes),
        (VIRTUAL_BYTES, process.virtual_bytes),
        (THREADS, process.threads),
        (OPEN_FILES, process.open_files),
        (OPEN_FILES_MAX, process.open_files_max),
    ] {
        if let Some(value) = value {
            metrics::gauge!(family).set(value as f64);
        }
    }
}

/// A timed and counted call to a store.
#[derive(Debug)]
pub struct Call {
    seconds: &'static str,
    errors: &'static str,
    operation: &'static str,
    watch: Stopwatch,
}

impl Call {
    /// Starts to time a call to the object store; [`over`](Self::over) ends it.
    pub fn of_objects(operation: &'static str) -> Self {
        Self { seconds: OBJECT_SECONDS, errors: OBJECT_ERRORS, operation, watch: Stopwatch::start() }
    }

    /// Starts to time a call to the metadata store; [`over`](Self::over) ends it.
    pub fn of_metadata(operation: &'static str) -> Self {
        Self { seconds: METADATA_SECONDS, errors: METADATA_ERRORS, operation, watch: Stopwatch::start() }
    }

    /// Ends the call and records it; `failed` is true if it has failed.
    pub fn over(self, failed: bool) {
        let label = || vec![Label::from_static_parts("operation", self.operation)];
        metrics::histogram!(self.seconds, label()).record(self.watch.seconds());
        if failed {
            metrics::counter!(self.errors, label()).increment(1);
        }
    }
}

/// Counts an activity as in progress until this is dropped.
pub struct UnderWay(Gauge);

impl UnderWay {
    /// Adds one to the gauge `family`, until the returned value is dropped.
    pub fn begin(family: &'static str) -> Self {
        let gauge = metrics::gauge!(family);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for Family { name, kind, help } in FAMILIES {
            assert!(name.starts_with("entityd_") || name.starts_with("process_"), "{name}");
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let timed = matches!(kind, Kind::Short | Kind::Long);
            assert!(!timed || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        }
    }

    #[test]
    fn bounds_ascend() {
        assert!([&SHORT[..], &LONG, &RATIO, &AMOUNT].iter().all(|bounds| bounds.is_sorted()));
    }
}
