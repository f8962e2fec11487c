//! Runs the conformance tests on a real Redis, and tests specific to Redis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::server::{Sentinels, Server, installed};
use super::{Access, QueueUrl, RedisBroker, Settings, Shared, TlsFiles};
use crate::metadata;
use crate::metadata::commons::{Commons, HeardNode, ListedNode, Node};
use crate::queue::conformance::{Fixture, claim, job, stories, wish};
use crate::queue::{Acked, Broker, Claim, DeadQuery, Error, JobQuery, NewJob};
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::identity::Identity;
use crate::system::secret::Hidden;

struct Place {
    server: Server,
    directory: TempDir,
    broker: Option<RedisBroker>,
}

fn settings(url: &str, directory: &TempDir) -> Settings {
    let access = Access::new(QueueUrl::parse(url).unwrap(), None, TlsFiles::default());
    Settings {
        directory: Some(directory.path().to_owned()),
        ..Settings::new(access, Identity::parse(&"ab".repeat(16)).unwrap())
    }
}

async fn open(url: &str, directory: &TempDir) -> RedisBroker {
    RedisBroker::open(settings(url, directory), Entropy::system()).await.unwrap()
}

fn now() -> Timestamp {
    Clock::system().steady()
}

impl Place {
    async fn new() -> Self {
        let mut place =
            Self { server: Server::start(&[]).await, directory: TempDir::new().unwrap(), broker: None };
        place.reopen().await;
        place
    }

    async fn reopen(&mut self) {
        let settings = Settings { time_of_callers: true, ..settings(&self.server.url(), &self.directory) };
        self.broker = Some(RedisBroker::open(settings, Entropy::system()).await.unwrap());
    }
}

#[async_trait]
impl Fixture for Place {
    fn broker(&self) -> &dyn Broker {
        self.broker.as_ref().expect("it is open between calls")
    }

    fn take(&mut self) -> Box<dyn Broker> {
        Box::new(self.broker.take().expect("it is open between calls"))
    }

    async fn start(&mut self) {
        self.reopen().await;
    }

    /// Kills Redis and this process.
    async fn crash(&mut self) {
        self.broker = None;
        self.server.restart().await;
        self.reopen().await;
    }
}

mod all {
    use super::{Place, installed, stories};

    stories! {
        if installed() { Place::new().await } else { return }
    }
}

/// Repeats a call until there is an answer.
async fn persistent<T>(ask: impl AsyncFn() -> Result<T, Error>) -> T {
    let watch = Stopwatch::start();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(Error::Storage(_)) if watch.seconds() < 90.0 => {}
            Err(error) => panic!("{error}: {}", error.reason()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|number| job(&number.to_string())).collect()
}

#[tokio::test]
async fn a_flushed_queue_begins_anew_at_once() {
    if !installed() {
        return;
    }
    let (server, directory) = (Server::start(&[]).await, TempDir::new().unwrap());
    let queue = open(&server.url(), &directory).await;
    assert_eq!(queue.enqueue(&jobs(3), now()).await.unwrap(), 3);
    let held = claim(&queue, 1, now()).await.pop().unwrap();
    assert_eq!(queue.renewals(), 0);
    let patient = Claim { wait: Duration::from_secs(20), ..wish(&[("other", 1)], 1) };
    let watch = Stopwatch::start();
    let (_, ()) = tokio::join!(
        async {
            // Only a waiting claim can notice the loss.
            tokio::time::timeout(Duration::from_secs(12), queue.claim(&patient, now())).await
        },
        async {
            server.ask(&["FLUSHALL"]).await;
            queue.renewed(0).await;
            assert!(watch.seconds() < 10.0, "{}", watch.seconds());
        }
    );
    assert_eq!(queue.renewals(), 1);
    assert_eq!(queue.stats(now()).await.unwrap().queues.len(), 0);
    // The jobs are enqueued again, one of them with the attempt that it has used.
    let again = NewJob { attempts: 1, ..job("0") };
    assert_eq!(queue.enqueue(&[again, job("1")], now()).await.unwrap(), 2);
    assert_eq!(queue.ack_all(std::slice::from_ref(&held.id), now()).await.unwrap(), [Acked::Done]);
    let leases = claim(&queue, 9, now()).await;
    assert_eq!(
        leases.iter().map(|lease| lease.attempt).collect::<Vec<_>>(),
        [2, 1],
        "an old ack takes nothing"
    );
}

#[tokio::test]
async fn a_queue_that_went_back_begins_anew() {
    if !installed() {
        return;
    }
    let (mut server, directory) = (Server::start(&[]).await, TempDir::new().unwrap());
    for while_it_runs in [true, false] {
        let queue = open(&server.url(), &directory).await;
        let renewals = queue.renewals();
        queue.enqueue(&jobs(2), now()).await.unwrap();
        let old = server.copy_files();
        let lease = claim(&queue, 1, now()).await.pop().unwrap();
        queue.ack(&lease.id, now()).await.unwrap();
        let queue = if while_it_runs {
            server.go_back_to(old.path()).await;
            queue
        } else {
            queue.close().await.unwrap();
            server.go_back_to(old.path()).await;
            open(&server.url(), &directory).await
        };
        let left = persistent(async || queue.stats(now()).await).await;
        assert!(left.queues.is_empty(), "a job that was done is not done again: {left:?}");
        assert_eq!(queue.renewals(), if while_it_runs { renewals + 1 } else { 1 });
        queue.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_restart_of_redis_is_survived_without_loss() {
    if !installed() {
        return;
    }
    let (mut server, directory) = (Server::start(&[]).await, TempDir::new().unwrap());
    let queue = open(&server.url(), &directory).await;
    queue.enqueue(&jobs(10), now()).await.unwrap();
    let held = claim(&queue, 2, now()).await;
    server.restart().await;
    let acked = persistent(async || queue.ack_all(std::slice::from_ref(&held[0].id), now()).await).await;
    assert_eq!(acked, [Acked::Done], "a lease outlives the restart of Redis");
    let figures = queue.stats(now()).await.unwrap().queues["q"].clone();
    assert_eq!((figures.ready, figures.leased, queue.renewals()), (8, 1, 0));
    server.kill();
    let watch = Stopwatch::start();
    assert!(matches!(queue.stats(now()).await, Err(Error::Storage(_))));
    assert!(watch.seconds() < 30.0, "the error comes quickly: {}", watch.seconds());
}

#[tokio::test]
async fn a_stopped_redis_is_waited_for_and_late_claims_are_given_back() {
    if !installed() {
        return;
    }
    let (server, directory) = (Server::start(&[]).await, TempDir::new().unwrap());
    let queue = open(&server.url(), &directory).await;
    queue.enqueue(&jobs(3), now()).await.unwrap();
    server.signal(Signal::SIGSTOP);
    let watch = Stopwatch::start();
    let late = queue.claim(&wish(&[("q", 1)], 3), now()).await;
    assert!(matches!(late, Err(Error::Storage(_))), "{late:?}");
    assert!(watch.seconds() < 40.0, "{}", watch.seconds());
    server.signal(Signal::SIGCONT);
    let watch = Stopwatch::start();
    loop {
        let leases = persistent(async || queue.claim(&wish(&[("q", 1)], 3), now()).await).await;
        if leases.len() == 3 {
            assert!(leases.iter().all(|lease| lease.attempt == 1));
            break;
        }
        queue.release(&leases.into_iter().map(|lease| lease.id).collect::<Vec<_>>(), now()).await.unwrap();
        assert!(watch.seconds() < 90.0, "what a late claim took is back");
    }
    assert_eq!(queue.renewals(), 0);
}

/// A queue whose master has a replica and a Sentinel.
struct Replicated {
    master: Server,
    replica: Server,
    queue: RedisBroker,
    sentinels: Sentinels,
    directory: TempDir,
}

impl Replicated {
    async fn start() -> Self {
        let master = Server::start(&[]).await;
        let port = master.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
        let sentinels = Sentinels::start(&master, 1).await;
        let directory = TempDir::new().unwrap();
        let queue = open(&sentinels.url(), &directory).await;
        Self { master, replica, queue, sentinels, directory }
    }
}

#[tokio::test]
async fn a_fail_over_is_followed() {
    if !installed() {
        return;
    }
    // The directory is dropped at the end.
    let Replicated { mut master, replica, queue, sentinels, directory: _directory } =
        Replicated::start().await;
    assert!(queue.describe().await.unwrap().contains("master, replicas: 1"));
    queue.enqueue(&jobs(10), now()).await.unwrap();
    master.until_synced(1).await;
    master.kill();
    let watch = Stopwatch::start();
    let claims = persistent(async || queue.claim(&wish(&[("q", 1)], 10), now()).await);
    let (leases, ()) = tokio::join!(claims, sentinels.fail_over(&master));
    println!("a fail-over took {:.1} s", watch.seconds());
    assert_eq!((leases.len(), queue.renewals()), (10, 0), "the replica had everything");
    let said = queue.describe().await.unwrap();
    assert!(said.contains(&replica.port.to_string()), "{said}");
    // The old master restarts, and is a master until the Sentinels make it a replica.
    master.restart().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let acked = persistent(async || queue.ack_all(std::slice::from_ref(&leases[0].id), now()).await).await;
    assert_eq!(acked, [Acked::Done]);
    let said = persistent(async || queue.describe().await.ok_or(Error::Storage("no answer".into()))).await;
    assert!(said.contains(&format!("at 127.0.0.1:{}", replica.port)), "{said}");
}

#[tokio::test]
async fn a_fail_over_to_an_older_replica_is_a_loss() {
    if !installed() {
        return;
    }
    // The directory is dropped at the end.
    let Replicated { mut master, replica, queue, sentinels, directory: _directory } =
        Replicated::start().await;
    queue.enqueue(&jobs(10), now()).await.unwrap();
    master.until_synced(1).await;
    // The replica receives nothing more, but still answers the Sentinels later.
    replica.signal(Signal::SIGSTOP);
    let lease = claim(&queue, 1, now()).await.pop().unwrap();
    queue.ack(&lease.id, now()).await.unwrap();
    master.kill();
    replica.signal(Signal::SIGCONT);
    let (left, ()) =
        tokio::join!(persistent(async || queue.stats(now()).await), sentinels.fail_over(&master));
    let lost = queue.renewals() == 1 && left.queues.is_empty();
    // The stopped replica may still have received data through its socket.
    let complete = queue.renewals() == 0 && left.queues["q"].ready == 9;
    assert!(lost || complete, "{left:?}, {}", queue.renewals());
}

/// Returns the number of scripts that a server has run. A call of a script that it has to load first has failed.
async fn scripts_run(server: &Server) -> u64 {
    let redis::Value::BulkString(text) = server.ask(&["INFO", "commandstats"]).await else { return 0 };
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")) else { return 0 };
    let number = |name: &str| -> u64 {
        line.split(',').find_map(|field| field.strip_prefix(name)?.parse().ok()).unwrap_or(0)
    };
    number("calls=") - number("failed_calls=")
}

#[tokio::test]
async fn statistics_and_lists_come_from_a_replica() {
    if !installed() {
        return;
    }
    // Sentinels and directory are dropped at the end.
    let Replicated { master, mut replica, queue, sentinels: _sentinels, directory: _directory } =
        Replicated::start().await;
    let later = NewJob { not_before: Some(now().after(Duration::from_hours(1))), ..job("later") };
    queue.enqueue(&[jobs(9), vec![later]].concat(), now()).await.unwrap();
    master.until_synced(1).await;
    let living = JobQuery { count: 99, may_lag: true, ..JobQuery::default() };
    let dead = DeadQuery { count: 99, may_lag: true, ..DeadQuery::default() };
    let watch = Stopwatch::start();
    let (listed, run) = loop {
        let before = scripts_run(&replica).await;
        let stats = queue.stats(now()).await.unwrap();
        assert_eq!((stats.queues["q"].ready, stats.queues["q"].delayed), (9, 1));
        let listed = queue.jobs(&living, now()).await.unwrap();
        assert!(queue.dead_letters(&dead, now()).await.unwrap().is_empty());
        let run = scripts_run(&replica).await;
        if run == before + 3 {
            break (listed, run);
        }
        // A replica that was slow once is not asked for some seconds.
        assert!(watch.seconds() < 90.0, "the replica answers: {before}, {run}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let exact = JobQuery { may_lag: false, ..living.clone() };
    assert_eq!(queue.jobs(&exact, now()).await.unwrap(), listed, "the master says the same");
    assert_eq!(scripts_run(&replica).await, run, "decisions ask the master");
    let described = queue.describe().await.unwrap();
    assert!(described.ends_with(&format!("lists from 127.0.0.1:{}", replica.port)), "{described}");

    // A replica that lacks a change which this process has seen does not answer.
    replica.signal(Signal::SIGSTOP);
    let lease = claim(&queue, 1, now()).await.pop().unwrap();
    queue.ack(&lease.id, now()).await.unwrap();
    assert_eq!(queue.stats(now()).await.unwrap().queues["q"].depth, 9);
    replica.signal(Signal::SIGCONT);
    replica.kill();
    assert_eq!(queue.stats(now()).await.unwrap().queues["q"].depth, 9, "the master answers");
    assert_eq!(queue.renewals(), 0);
}

async fn refused(settings: Settings) -> String {
    match RedisBroker::open(settings, Entropy::system()).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.reason(),
    }
}

#[tokio::test]
async fn a_redis_that_loses_jobs_or_is_foreign_is_refused() {
    if !installed() {
        return;
    }
    let (server, directory) = (Server::start(&[]).await, TempDir::new().unwrap());
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let reason = refused(settings(&server.url(), &directory)).await;
    assert!(reason.contains("maxmemory-policy is allkeys-lru"), "{reason}");
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let queue = open(&server.url(), &directory).await;
    let other = TempDir::new().unwrap();
    let foreign =
        Settings { identity: Identity::parse(&"cd".repeat(16)).unwrap(), ..settings(&server.url(), &other) };
    let reason = refused(foreign).await;
    assert!(reason.contains(&"ab".repeat(16)) && reason.contains(&"cd".repeat(16)), "{reason}");
    queue.enqueue(&jobs(1), now()).await.unwrap();
    // Another process of the same data directory takes over, and this one ends.
    let second = open(&server.url(), &directory).await;
    assert!(matches!(queue.stats(now()).await, Err(Error::Storage(_))));
    assert!(queue.failed().await.reason().contains("another process"));
    assert_eq!(claim(&second, 9, now()).await.len(), 1);
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await;
    let watch = Stopwatch::start();
    while second.stats(now()).await.is_ok() {
        assert!(watch.seconds() < 90.0, "a policy that changes is noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn users_and_passwords_are_checked_and_not_told() {
    if !installed() {
        return;
    }
    let server = Server::start(&[
        "--user",
        "worker",
        "on",
        ">s3cret",
        "~{entityd}*",
        "resetchannels",
        "&{entityd}*",
        "+@all",
    ])
    .await;
    let directory = TempDir::new().unwrap();
    let of = |user: &str, password: &str| {
        let url = QueueUrl::parse(&format!("redis://{user}@127.0.0.1:{}/0", server.port)).unwrap();
        let access = Access::new(url, Some(Hidden::new(password)), TlsFiles::default());
        Settings { access, ..settings("redis://unused", &directory) }
    };
    let reason = refused(of("worker", "wrong-s3cret")).await;
    assert!(reason.contains("--queue-password-file"), "{reason}");
    assert!(!reason.contains("wrong-s3cret"), "{reason}");
    let queue = RedisBroker::open(of("worker", "s3cret"), Entropy::system()).await.unwrap();
    assert!(!format!("{queue:?}").contains("s3cret"));
    queue.enqueue(&jobs(2), now()).await.unwrap();
    assert_eq!(claim(&queue, 9, now()).await.len(), 2);
    queue.erase_traces().await.unwrap();
    queue.close().await.unwrap();
}

/// The shared values of nodes that use one queue, in memory.
#[derive(Default)]
struct Words(parking_lot::Mutex<std::collections::HashMap<String, String>>);

#[async_trait]
impl Commons for Words {
    async fn beat(&self, _: &Node, _: &[HeardNode]) -> Result<Vec<ListedNode>, metadata::Error> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: &str) -> Result<bool, metadata::Error> {
        Ok(false)
    }

    async fn drain(&self, _: &str) -> Result<bool, metadata::Error> {
        Ok(false)
    }

    async fn now(&self) -> Result<Timestamp, metadata::Error> {
        Ok(now())
    }

    async fn word(&self, name: &str) -> Result<Option<String>, metadata::Error> {
        Ok(self.0.lock().get(name).cloned())
    }

    async fn swap(&self, name: &str, before: Option<&str>, after: &str) -> Result<bool, metadata::Error> {
        let mut words = self.0.lock();
        if words.get(name).map(String::as_str) != before {
            return Ok(false);
        }
        words.insert(name.to_owned(), after.to_owned());
        Ok(true)
    }
}

/// Opens the queue as one of several nodes.
async fn join(url: &str, words: &Arc<Words>, node: &str, ended: Option<&str>) -> RedisBroker {
    let directory = TempDir::new().unwrap();
    let commons: Arc<dyn Commons> = words.clone();
    let shared = Shared { node: node.to_owned(), ended: ended.map(str::to_owned), commons };
    let settings = Settings { shared: Some(shared), ..settings(url, &directory) };
    RedisBroker::open(settings, Entropy::system()).await.unwrap()
}

#[tokio::test]
async fn a_node_takes_over_what_an_ended_process_kept_for_itself_alone() {
    if !installed() {
        return;
    }
    let (server, words) = (Server::start(&[]).await, Arc::default());
    let url = server.url();
    let first = join(&url, &words, "first", None).await;
    let second = join(&url, &words, "second", None).await;
    assert_eq!(first.enqueue(&jobs(4), now()).await.unwrap(), 4);
    let own = claim(&first, 1, now()).await.pop().unwrap();
    let guest = Claim { for_guest: true, ..wish(&[("q", 1)], 1) };
    let guest = first.claim(&guest, now()).await.unwrap().pop().unwrap();
    let other = claim(&second, 1, now()).await.pop().unwrap();
    drop(first);
    let again = join(&url, &words, "first again", Some("first")).await;
    let mut found: Vec<_> = claim(&again, 9, now()).await.into_iter().map(|lease| lease.id.job).collect();
    found.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(found, [own.id.job.clone(), "3".into()]);
    assert_eq!(second.ack_all(&[guest.id, other.id], now()).await.unwrap(), [Acked::Done, Acked::Done]);
    assert_eq!(second.ack_all(&[own.id], now()).await.unwrap(), [Acked::Lost]);
    assert_eq!(second.renewals() + again.renewals(), 0);
}

#[tokio::test]
async fn nodes_that_find_a_queue_lost_begin_one_new_queue() {
    if !installed() {
        return;
    }
    let (server, words) = (Server::start(&[]).await, Arc::default());
    let url = server.url();
    let mut nodes = Vec::new();
    for number in 0..4 {
        nodes.push(join(&url, &words, &number.to_string(), None).await);
    }
    nodes[0].enqueue(&jobs(3), now()).await.unwrap();
    server.ask(&["FLUSHALL"]).await;
    let found = futures::future::join_all(nodes.iter().map(|node| persistent(|| node.stats(now())))).await;
    assert_eq!(found.len(), 4);
    let renewals: u64 = nodes.iter().map(RedisBroker::renewals).sum();
    assert!(renewals >= 1, "the jobs are enqueued again");
    let more = jobs(5).split_off(3);
    persistent(|| nodes[1].enqueue(&more, now())).await;
    // All nodes use the same queue.
    let watch = Stopwatch::start();
    for node in &nodes {
        let depth = async || {
            let stats = persistent(|| node.stats(now())).await;
            stats.queues.values().map(|queue| queue.depth).sum::<u64>()
        };
        while depth().await != 2 {
            assert!(watch.seconds() < 90.0, "each node finds the new queue");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
