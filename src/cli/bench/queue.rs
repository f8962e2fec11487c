//! `entityd bench queue`: the rate and latency of jobs in the embedded queue, or in a queue in Redis. Every job is on
//! disk before it is acknowledged.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cli::exit::OrFail;
use crate::cli::number::whole;
use crate::cli::{Failure, output};
use crate::queue::redis::{Access, QueueUrl, RedisBroker, Settings as RedisSettings, TlsFiles};
use crate::queue::sled::{Settings, SledBroker};
use crate::queue::{Broker, Claim, Error, Lease, NewJob, Share};
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::identity::Identity;
use crate::system::secret::Hidden;

/// The longest wait of a claim for jobs. After it, the benchmark checks whether all jobs are done.
const WAIT: Duration = Duration::from_millis(100);
/// The owner of the measured queue in Redis: an identity that no server has, so that no server's queue is disturbed.
const BENCH: &str = "62656e6368206f662061207175657565";
/// The number of bytes of a payload that hold the job's number and its enqueue time.
const STAMP_BYTES: usize = 16;
/// The largest number of tasks that run jobs.
const WORKERS_MAX: usize = 100_000;
/// The queue of the additional jobs.
const BACKLOG: &str = "backlog";
/// The variable with the password of Redis.
const PASSWORD: &str = "ENTITYD_QUEUE_PASSWORD";

/// Puts jobs through the job queue: enqueue, claim, run (nothing), acknowledge
///
/// Every enqueue and every acknowledgement is synced to disk before its response; every delivery is checked.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Number of jobs
    #[arg(long, default_value_t = 500_000, value_parser = whole::<usize>(0..))]
    jobs: usize,
    /// Number of queues among which the jobs are distributed
    #[arg(long, default_value_t = 10, value_parser = whole::<usize>(0..))]
    queues: usize,
    /// Bytes of each job's payload, at least 16
    #[arg(long, default_value_t = 128, value_parser = whole::<usize>(0..))]
    payload_bytes: usize,
    /// Jobs in one enqueue call
    #[arg(long, default_value_t = 100, value_parser = whole::<usize>(0..))]
    batch: usize,
    /// Clients that enqueue
    #[arg(long, default_value_t = 16, value_parser = whole::<usize>(0..))]
    clients: usize,
    /// Tasks that run jobs, each waiting for its own acknowledgement
    #[arg(long, default_value_t = 512, value_parser = whole::<usize>(0..))]
    workers: usize,
    /// Jobs per second, enqueued one by one at a constant rate; 0 means as many as possible
    #[arg(long, default_value_t = 0, value_parser = whole::<u32>(0..=1_000_000))]
    rate: u32,
    /// Number of additional jobs, in a queue from which no worker claims
    #[arg(long, default_value_t = 0, value_parser = whole::<usize>(0..))]
    backlog: usize,
    /// Threads for clients and workers
    #[arg(long, default_value_t = 2, value_parser = whole::<usize>(0..))]
    threads: usize,
    /// Directory of the queue, which is kept [default: a temporary directory]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Empty Redis database to use instead, such as `redis://127.0.0.1:6379/9`; the password is read from
    /// `ENTITYD_QUEUE_PASSWORD`; an interrupted benchmark leaves its jobs there
    #[arg(long, value_parser = queue_url, conflicts_with = "data_dir")]
    queue: Option<QueueUrl>,
    /// End the output with a line that holds one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct Report {
    jobs_per_second: f64,
    jobs: usize,
    seconds: f64,
    enqueue_to_start_median_ms: f64,
    enqueue_to_start_p99_ms: f64,
    open_seconds: f64,
    resident_bytes_opened: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Backlog>,
}

/// The cost of filling the queue before the measurement.
#[derive(Debug, Serialize)]
struct Backlog {
    jobs: usize,
    jobs_per_second: f64,
    resident_bytes: u64,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let workers = 1..=WORKERS_MAX;
        if self.payload_bytes < STAMP_BYTES
            || self.batch == 0
            || self.queues == 0
            || !workers.contains(&self.workers)
        {
            return Err(Failure::Usage(format!(
                "--payload-bytes must be at least {STAMP_BYTES}, --batch and --queues positive, and --workers from 1 to \
                 {WORKERS_MAX}"
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.threads.max(1))
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
        let folder = tempfile::tempdir().map_err(|error| Failure::Failed(error.to_string()))?;
        let directory = self.data_dir.clone().unwrap_or_else(|| folder.path().to_owned());
        let json = self.json;
        let report = runtime.block_on(measure(Arc::new(self), &directory))?;
        let text = if json {
            serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?
        } else {
            format!("{:.0} jobs a second", report.jobs_per_second)
        };
        output::print(&format!("{text}\n"))
    }
}

async fn measure(arguments: Arc<Arguments>, directory: &Path) -> Result<Report, Failure> {
    let watch = Stopwatch::start();
    let broker = open_broker(arguments.queue.as_ref(), directory).await?;
    let (open_seconds, resident_bytes_opened) = (watch.seconds(), resident_bytes());
    let mut backlog = None;
    if arguments.backlog > 0 {
        let watch = Stopwatch::start();
        fill(&arguments, &broker).await.or_fail()?;
        backlog = Some(Backlog {
            jobs: arguments.backlog,
            jobs_per_second: arguments.backlog as f64 / watch.seconds(),
            resident_bytes: resident_bytes(),
        });
    }
    let watch = Stopwatch::start();
    let mut latencies_us = put_through(&arguments, &broker).await.or_fail()?;
    let seconds = watch.seconds();
    latencies_us.sort_unstable();
    let quantile = |share: f64| {
        let at = (latencies_us.len() as f64 * share) as usize;
        latencies_us.get(at).map_or(0.0, |latency_us| f64::from(*latency_us) / 1_000.0)
    };
    let report = Report {
        jobs_per_second: arguments.jobs as f64 / seconds,
        jobs: arguments.jobs,
        seconds,
        enqueue_to_start_median_ms: quantile(0.5),
        enqueue_to_start_p99_ms: quantile(0.99),
        open_seconds,
        resident_bytes_opened,
        backlog,
    };
    broker.close().await.or_fail()?;
    Ok(report)
}

pub(super) fn queue_url(text: &str) -> Result<QueueUrl, String> {
    QueueUrl::parse(text).ok_or_else(|| "give redis://[user[:password]@]host[:port][/database]".to_owned())
}

/// Opens the queue at `url`, or the embedded one in `directory`. Refuses a queue with jobs of an interrupted benchmark,
/// which this one would claim.
pub(super) async fn open_broker(
    url: Option<&QueueUrl>,
    directory: &Path,
) -> Result<Arc<dyn Broker>, Failure> {
    let broker = open(url, directory).await.or_fail()?;
    let stats = broker.stats(Clock::system().steady()).await.or_fail()?;
    let is_left =
        stats.queues.iter().any(|(name, queue)| name.as_str() != BACKLOG && queue.depth + queue.dead > 0);
    if is_left {
        let cure = match url {
            Some(_) => {
                "--queue has jobs of an interrupted benchmark; give an empty database, or empty this one with FLUSHDB"
            }
            None => "--data-dir has jobs of an interrupted benchmark; give an empty directory",
        };
        return Err(Failure::Usage(cure.to_owned()));
    }
    Ok(broker)
}

async fn open(url: Option<&QueueUrl>, directory: &Path) -> Result<Arc<dyn Broker>, Error> {
    let entropy = Entropy::system();
    let Some(url) = url.cloned() else {
        return Ok(Arc::new(SledBroker::open(directory, Settings::default(), entropy)?));
    };
    crate::edge::tls::install_provider();
    let password = std::env::var(PASSWORD).ok().map(|password| Hidden::new(&password));
    let access = Access::new(url, password, TlsFiles::default());
    let settings = RedisSettings::new(access, Identity::parse(BENCH).expect("it is an identity"));
    Ok(Arc::new(RedisBroker::open(settings, entropy).await?))
}

/// Enqueues the backlog, in a queue that no worker claims from.
async fn fill(arguments: &Arc<Arguments>, broker: &Arc<dyn Broker>) -> Result<(), Error> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..arguments.clients {
        let (arguments, broker, next) = (Arc::clone(arguments), Arc::clone(broker), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let first = next.fetch_add(arguments.batch, Ordering::Relaxed);
                if first >= arguments.backlog {
                    return Ok(());
                }
                let numbers = first..arguments.backlog.min(first + arguments.batch);
                let now = Clock::system().steady();
                let jobs: Vec<_> = numbers.map(|number| job(&arguments, BACKLOG, number, now)).collect();
                broker.enqueue(&jobs, now).await?;
            }
        });
    }
    clients.join_all().await.into_iter().collect()
}

fn job(arguments: &Arguments, queue: &str, number: usize, now: Timestamp) -> NewJob {
    let mut payload = vec![number as u8; arguments.payload_bytes];
    payload[..8].copy_from_slice(&(number as u64).to_le_bytes());
    payload[8..STAMP_BYTES].copy_from_slice(&now.as_micros().to_le_bytes());
    NewJob::new(format!("{queue}/{number}"), queue, format!("group {}", number % 3), payload)
}

fn queue_name(queue: usize) -> String {
    format!("queue {queue}")
}

/// The state that clients and workers share.
struct Course {
    arguments: Arc<Arguments>,
    broker: Arc<dyn Broker>,
    clock: Clock,
    next: AtomicUsize,
    finished: AtomicUsize,
    /// The number of deliveries of each job.
    delivered: Vec<AtomicU8>,
}

/// Enqueues and executes the jobs. Returns the microseconds from enqueue to start for each.
async fn put_through(arguments: &Arc<Arguments>, broker: &Arc<dyn Broker>) -> Result<Vec<u32>, Error> {
    let course = Arc::new(Course {
        arguments: Arc::clone(arguments),
        broker: Arc::clone(broker),
        clock: Clock::system(),
        next: AtomicUsize::new(0),
        finished: AtomicUsize::new(0),
        delivered: (0..arguments.jobs).map(|_| AtomicU8::new(0)).collect(),
    });
    let mut clients = JoinSet::new();
    if arguments.rate > 0 {
        clients.spawn(Arc::clone(&course).offer());
    } else {
        for _ in 0..arguments.clients {
            clients.spawn(Arc::clone(&course).enqueue());
        }
    }
    let latencies_us = Arc::clone(&course).work().await?;
    clients.join_all().await.into_iter().collect::<Result<(), Error>>()?;
    let once = course.delivered.iter().all(|times| times.load(Ordering::Relaxed) == 1);
    assert!(once, "every job is delivered exactly once");
    Ok(latencies_us)
}

impl Course {
    /// Enqueues one batch after another, each on disk before the next.
    async fn enqueue(self: Arc<Self>) -> Result<(), Error> {
        let (jobs, batch) = (self.arguments.jobs, self.arguments.batch);
        loop {
            let first = self.next.fetch_add(batch, Ordering::Relaxed);
            if first >= jobs {
                return Ok(());
            }
            self.enqueue_these(first..jobs.min(first + batch)).await?;
        }
    }

    async fn enqueue_these(&self, numbers: std::ops::Range<usize>) -> Result<(), Error> {
        let queue = queue_name(numbers.start / self.arguments.batch % self.arguments.queues);
        let now = self.clock.steady();
        let jobs: Vec<_> = numbers.map(|number| job(&self.arguments, &queue, number, now)).collect();
        self.broker.enqueue(&jobs, now).await.map(|_| ())
    }

    /// Enqueues single jobs at a constant rate, without waiting for the responses to earlier ones.
    async fn offer(self: Arc<Self>) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.arguments.rate);
        let mut calls = JoinSet::new();
        for number in 0..self.arguments.jobs {
            ticks.tick().await;
            let course = Arc::clone(&self);
            calls.spawn(async move { course.enqueue_these(number..number + 1).await });
            while let Some(call) = calls.try_join_next() {
                call.map_err(|error| Error::Storage(error.into()))??;
            }
        }
        calls.join_all().await.into_iter().collect()
    }

    /// Claims jobs for all idle workers, until every job is done.
    async fn work(self: Arc<Self>) -> Result<Vec<u32>, Error> {
        let idle = Arc::new(Semaphore::new(self.arguments.workers));
        let mut claim = Claim {
            queues: (0..self.arguments.queues)
                .map(|queue| Share { queue: queue_name(queue).into(), weight: NonZeroU32::MIN })
                .collect(),
            count: 0,
            lease: Duration::from_mins(1),
            wait: WAIT,
            for_guest: false,
        };
        let mut latencies_us = Vec::with_capacity(self.arguments.jobs);
        let mut running = JoinSet::new();
        while self.finished.load(Ordering::Relaxed) < self.arguments.jobs {
            let free = idle.available_permits().max(1);
            let permits = Arc::clone(&idle).acquire_many_owned(free as u32).await;
            let mut permits = permits.expect("the semaphore is never closed");
            claim.count = free;
            for lease in self.broker.claim(&claim, self.clock.steady()).await? {
                let permit = permits.split(1).expect("no more is handed out than claimed");
                latencies_us.push(self.check(&lease));
                let course = Arc::clone(&self);
                running.spawn(async move {
                    let acked = course.broker.ack(&lease.id, course.clock.steady()).await;
                    course.finished.fetch_add(1, Ordering::Relaxed);
                    drop(permit);
                    acked
                });
            }
            while let Some(done) = running.try_join_next() {
                done.map_err(|error| Error::Storage(error.into()))??;
            }
        }
        running.join_all().await.into_iter().collect::<Result<(), Error>>()?;
        Ok(latencies_us)
    }

    /// Checks that the payload is the enqueued one, and returns the job's age in microseconds.
    fn check(&self, lease: &Lease) -> u32 {
        let (number, rest) = lease.payload.split_first_chunk().expect("a payload has its stamp");
        let (enqueued, filling) = rest.split_first_chunk().expect("a payload has its stamp");
        let number = u64::from_le_bytes(*number) as usize;
        let name = format!("{}/{number}", lease.queue);
        assert_eq!(lease.id.job.as_str(), name, "a job comes with its own payload");
        assert!(filling.iter().all(|byte| *byte == number as u8), "a payload comes back whole");
        self.delivered[number].fetch_add(1, Ordering::Relaxed);
        let enqueued = Timestamp::from_micros(i64::from_le_bytes(*enqueued));
        u32::try_from(self.clock.steady().since(enqueued).as_micros()).unwrap_or(u32::MAX)
    }
}

/// Returns the resident memory of the process in bytes; 0 if the system does not report it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
