//! `entityd bench fleet`: an API node with many workers, which only pretend to compare.
//!
//! Coordinator, queue, metadata, worker listener, and the worker's client are the ones of `serve`. Comparisons are replaced by
//! pauses, outcomes and objects by placeholders, and the network between workers and API node by delays.

mod api_node;
mod meter;
mod simulated_worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::{self, open_store};
use super::queue::{open_broker, queue_url};
use super::report;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::cli::number::whole;
use crate::metadata::Location;
use crate::queue::redis::QueueUrl;
use crate::system::threads;
use api_node::{ApiNode, Network, Stores};
use meter::{Meter, Quantiles, Share, WORKERS};
use simulated_worker::Fleet;

/// The longest pause that stands for a job. Jobs of the simulated workers send no heartbeats while they wait.
const JOB_MS_MAX: u64 = 10_000;
/// The maximum number of parts of a run, as in the plans of `serve`.
const PARTS_MAX: u32 = 100_000;
/// The share of idle time below which the workers limit the rate.
const BUSY: f64 = 0.1;
/// The share of idle time of the machine's cores below which the processor limits the rate.
const NO_CORES_LEFT: f64 = 0.15;

/// Runs an API node with simulated workers, whose comparisons are pauses
///
/// Coordinator, queue, metadata store, worker listener and the client of workers are the real ones, on loopback and
/// without TLS. Comparisons, their outcomes and objects, and the delays of the network are simulated.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Workers that join the API node
    #[arg(long, default_value_t = 100, value_parser = whole::<usize>(0..))]
    workers: usize,
    /// Comparison jobs of all runs together
    #[arg(long, default_value_t = 20_000, value_parser = whole::<u32>(0..))]
    jobs: u32,
    /// Runs, each of its own project, over which the jobs are spread
    #[arg(long, default_value_t = 1, value_parser = whole::<u32>(0..))]
    runs: u32,
    /// Milliseconds that a job computes; each job takes between 90 and 110 percent of it
    #[arg(long, default_value_t = 300, value_parser = whole::<u64>(0..))]
    job_ms: u64,
    /// Jobs that a worker computes at once; it holds one more, as a real one does
    #[arg(long, default_value_t = 2, value_parser = whole::<usize>(0..))]
    at_once: usize,
    /// Milliseconds that a request, and its answer, is on the way
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>(0..))]
    latency_ms: u64,
    /// Milliseconds of random delay in addition, evenly distributed
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>(0..))]
    jitter_ms: u64,
    /// Seed of job times and delays
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>(0..))]
    seed: u64,
    /// Send the pairs of each job to the API node, which writes them to its disk; otherwise workers write to a bucket,
    /// simulated in memory
    #[arg(long)]
    objects_on_api_node: bool,
    /// Bytes of the pairs of a job
    #[arg(long, default_value_t = 2_400, value_parser = whole::<usize>(0..))]
    pairs_bytes: usize,
    /// Threads of the API node; those of the workers come in addition
    #[arg(long, default_value_t = 2, value_parser = whole::<usize>(0..))]
    threads: usize,
    /// Empty database in `PostgreSQL` instead of `SQLite`, in the form that `serve` accepts; the password is read from
    /// `ENTITYD_DATABASE_PASSWORD`
    #[arg(long, default_value = "", hide_default_value = true)]
    database: String,
    /// An empty database of Redis instead of the embedded queue, such as `redis://127.0.0.1:6379/9`
    #[arg(long, value_parser = queue_url)]
    queue: Option<QueueUrl>,
    /// Print one line that holds a JSON object, and nothing else
    #[arg(long)]
    json: bool,
}

/// The measurements. Rates and shares are of the time in which the middle nine tenths of the jobs were reported.
#[derive(Debug, Serialize)]
struct Report {
    workers: usize,
    jobs: u64,
    job_ms: u64,
    /// Jobs a second if no worker ever waited.
    jobs_per_second_ideal: f64,
    jobs_per_second: f64,
    claims_per_second: f64,
    /// Calls with heartbeats and reports.
    turns_per_second: f64,
    reports_per_turn: f64,
    idle_share: f64,
    ready_to_claimed_ms: Quantiles,
    claim_ms: Quantiles,
    receipt_ms: Quantiles,
    api_cpu_seconds_per_1000_jobs: f64,
    workers_cpu_seconds_per_1000_jobs: f64,
    api_cores: f64,
    /// The share of the time of the machine's cores in which no process used them.
    cores_idle_share: f64,
    body_bytes_per_job: f64,
    /// From the posting of the runs to the completion of the last.
    seconds: f64,
    limit: &'static str,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        self.check()?;
        let location = database::location(&self.database)?;
        let folder = tempfile::tempdir().map_err(|error| Failure::Failed(error.to_string()))?;
        let json = self.json;
        let report = measure(&self, &location, folder.path())?;
        report::print(&report, json, &report.sentence())
    }

    fn check(&self) -> Result<(), Failure> {
        let usage = |text: String| Err(Failure::Usage(text));
        let counts = [
            ("workers", self.workers),
            ("jobs", self.jobs as usize),
            ("runs", self.runs as usize),
            ("at-once", self.at_once),
            ("threads", self.threads),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return usage(format!("--{name} is 1 or more"));
        }
        if !(1..=JOB_MS_MAX).contains(&self.job_ms) {
            return usage(format!("--job-ms is between 1 and {JOB_MS_MAX}"));
        }
        if self.latency_ms.max(self.jitter_ms) > JOB_MS_MAX {
            return usage(format!("--latency-ms and --jitter-ms are at most {JOB_MS_MAX}"));
        }
        if self.jobs < self.runs || self.jobs.div_ceil(self.runs) > PARTS_MAX {
            return usage(format!("a run has between 1 and {PARTS_MAX} jobs; change --jobs or --runs"));
        }
        Ok(())
    }

    /// Returns the number of parts of the run with this number.
    fn parts(&self, run: u32) -> u32 {
        self.jobs / self.runs + u32::from(run < self.jobs % self.runs)
    }
}

fn runtime(threads: usize, name: &str) -> Result<Runtime, Failure> {
    let built = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
    built.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))
}

fn measure(arguments: &Arguments, location: &Location, folder: &Path) -> Result<Report, Failure> {
    let meter = Arc::new(Meter::new(arguments.jobs.into()));
    let network = Network {
        latency: Duration::from_millis(arguments.latency_ms),
        jitter: Duration::from_millis(arguments.jitter_ms),
        seed: arguments.seed,
        meter: Arc::clone(&meter),
    };
    let serving = runtime(arguments.threads, "fleet-api")?;
    let computing = runtime(threads::cores(), WORKERS)?;
    let api_node = serving.block_on(async {
        let store = open_store(location, folder).await.or_fail()?;
        let broker = open_broker(arguments.queue.as_ref(), &folder.join("queue")).await?;
        ApiNode::start(Stores { store, broker }, folder, arguments.objects_on_api_node, network).await
    })?;
    let fleet = Fleet {
        api_node: api_node.entrance(),
        meter: Arc::clone(&meter),
        job: Duration::from_millis(arguments.job_ms),
        at_once: arguments.at_once,
        pairs: vec![7; arguments.pairs_bytes].into(),
        seed: arguments.seed,
    };
    let stop = CancellationToken::new();
    let mut workers = computing.block_on(fleet.join(arguments.workers, &stop))?;
    let parts: Vec<u32> = (0..arguments.runs).map(|run| arguments.parts(run)).collect();
    let seconds = serving.block_on(async {
        tokio::select! {
            seconds = api_node.complete(&parts, &meter) => seconds,
            failed = first_failure(&mut workers) => Err(failed),
        }
    })?;
    stop.cancel();
    computing.block_on(async { while workers.join_next().await.is_some() {} });
    serving.block_on(api_node.stop())?;
    Ok(Report::new(arguments, &meter, seconds))
}

/// Waits for a worker that fails, and returns the reason.
async fn first_failure(workers: &mut JoinSet<Result<(), String>>) -> Failure {
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Failure::Failed(format!("a simulated worker failed: {reason}")),
            Err(error) => return Failure::Failed(format!("a simulated worker failed: {error}")),
        }
    }
    std::future::pending().await
}

impl Report {
    fn new(arguments: &Arguments, meter: &Meter, seconds: f64) -> Self {
        let Share { seconds: window, counts, api_cpu_seconds, workers_cpu_seconds, cores_idle_seconds } =
            meter.middle();
        let rate = |count: u64| count as f64 / window;
        let jobs = counts.jobs.max(1) as f64;
        let slots = (arguments.workers * arguments.at_once) as f64;
        let idle_share = (1.0 - counts.busy_us as f64 / 1e6 / (slots * window)).clamp(0.0, 1.0);
        let cores_idle_share = cores_idle_seconds / window / threads::cores() as f64;
        let limit = if idle_share < BUSY {
            "workers"
        } else if cores_idle_share < NO_CORES_LEFT {
            "processor"
        } else {
            "waiting"
        };
        Self {
            workers: arguments.workers,
            jobs: meter.jobs(),
            job_ms: arguments.job_ms,
            jobs_per_second_ideal: slots * 1_000.0 / arguments.job_ms as f64,
            jobs_per_second: rate(counts.jobs),
            claims_per_second: rate(counts.claims),
            turns_per_second: rate(counts.turns),
            reports_per_turn: jobs / counts.turns.max(1) as f64,
            idle_share,
            ready_to_claimed_ms: meter.ready_to_claimed(),
            claim_ms: meter.claim(),
            receipt_ms: meter.report(),
            api_cpu_seconds_per_1000_jobs: 1_000.0 * api_cpu_seconds / jobs,
            workers_cpu_seconds_per_1000_jobs: 1_000.0 * workers_cpu_seconds / jobs,
            api_cores: api_cpu_seconds / window,
            cores_idle_share,
            body_bytes_per_job: counts.bytes as f64 / jobs,
            seconds,
            limit,
        }
    }

    fn sentence(&self) -> String {
        let limit = match self.limit {
            "workers" => "the workers are busy",
            "processor" => "the processor is the limit",
            _ => "workers wait for answers; the processor is not the limit",
        };
        format!(
            "{:.0} of {:.0} jobs a second by {} workers, {:.0} % of their time idle; {:.2} s of processor time of the API \
             node for 1,000 jobs; {limit}",
            self.jobs_per_second,
            self.jobs_per_second_ideal,
            self.workers,
            100.0 * self.idle_share,
            self.api_cpu_seconds_per_1000_jobs,
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &str) -> Arguments {
        Line::parse_from(std::iter::once("fleet").chain(line.split_whitespace())).arguments
    }

    fn measured(line: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        measure(&arguments(line), &Location::parse("").unwrap(), folder.path()).unwrap()
    }

    #[test]
    fn every_job_of_several_runs_is_reported_once() {
        let report = measured("--workers 3 --jobs 41 --runs 2 --job-ms 2 --latency-ms 0 --jitter-ms 0");
        assert_eq!((report.workers, report.jobs), (3, 41));
        assert!(report.jobs_per_second > 0.0 && report.api_cpu_seconds_per_1000_jobs >= 0.0);
        assert!((0.0..=1.0).contains(&report.idle_share));
        assert!(report.body_bytes_per_job > 100.0, "{report:?}");
    }

    #[test]
    fn objects_may_go_through_the_api_node_and_the_network_be_slow() {
        let report = measured(
            "--workers 2 --jobs 12 --job-ms 1 --latency-ms 20 --jitter-ms 5 --objects-on-api-node --pairs-bytes 50000",
        );
        assert_eq!(report.jobs, 12);
        assert!(report.receipt_ms.median >= 40.0, "a request and its answer take 20 ms each: {report:?}");
        // Some objects were written before the measured jobs were reported.
        assert!(report.body_bytes_per_job > 20_000.0, "{report:?}");
    }

    #[test]
    fn wrong_numbers_are_named() {
        for (line, named) in [
            ("--workers 0", "--workers"),
            ("--threads 0", "--threads"),
            ("--job-ms 0", "--job-ms"),
            ("--job-ms 10001", "--job-ms"),
            ("--jitter-ms 99999", "--jitter-ms"),
            ("--jobs 100001", "--runs"),
            ("--jobs 1 --runs 2", "--jobs"),
        ] {
            let refused = arguments(line).check().unwrap_err().to_string();
            assert!(refused.contains(named) && !refused.contains('\n'), "{line}: {refused}");
        }
        assert!(arguments("--jobs 100001 --runs 2").check().is_ok());
    }
}
