//! Tests of the worker: the jobs that it claims, the outcomes that it reports, and its stop.

use std::time::Duration;

use linkage::similarity::Kernel;

use super::job_source::{Call, FakeSource};
use super::people::{People, compare, finalize};
use super::{Fixture, PROJECT, RUN};
use crate::external::ClientFiles;
use crate::model::{Outcome, Purge, ResultType, Task};
use crate::objects::keys;
use crate::runtime::clock::Stopwatch;
use crate::worker::{QueueSlots, Settings, Worker};

/// A time limit that is long enough for a busy machine, and far below the drain timeout and the time of these jobs.
const AT_ONCE: Duration = Duration::from_secs(10);

fn start(fixture: &Fixture, source: &FakeSource) -> Worker {
    start_with_deadline(fixture, source, Duration::from_hours(1))
}

fn start_with_deadline(fixture: &Fixture, source: &FakeSource, job_deadline: Duration) -> Worker {
    let settings = Settings {
        lease: Duration::from_secs(30),
        drain_timeout: Duration::from_secs(20),
        job_deadline,
        objects_wait: Duration::from_secs(20),
        copies_every: Duration::from_hours(1),
        queue_slots: QueueSlots::default(),
        memory_bytes: 1 << 30,
        disk: fixture.dir.path().to_owned(),
        kernel: Kernel::best(),
        pairs: linkage::pairs::Version::Dense,
        client_files: ClientFiles::default(),
    };
    Worker::start(source.clone(), fixture.objects.clone(), fixture.pool.clone(), settings)
}

/// Returns two datasets that cannot be compared within minutes.
async fn endless(fixture: &Fixture) -> Vec<People> {
    let parties: Vec<_> = (0..2).map(|party| People::new(party, 1_000_000, false)).collect();
    fixture.upload(&parties).await;
    let datasets = fixture.ingest(&parties).await;
    fixture.plan(datasets, Some(u64::MAX)).await;
    parties
}

async fn until(mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_every_queue_are_done_and_reported() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let people = [People::new(0, 20, false), People::new(1, 20, false)];
    fixture.upload(&people).await;
    let worker = start(&fixture, &source);
    source.put(Task::Ingest { party: 0, upload: people[0].upload() });
    source.put(Task::Ingest { party: 1, upload: people[1].upload() });
    source.put(finalize(&people, ResultType::Groups, 0));
    let calls = source.until_called(3).await;
    assert!(calls.iter().all(|calls| matches!(calls, Call::Report(..))), "{calls:?}");
    source.put(Task::Purge(Purge::Project));
    assert!(source.until_called(4).await.contains(&Call::Report("purge".to_owned(), Outcome::Purged)));
    worker.drain().await;
    source.put(Task::Purge(Purge::Project));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(source.waits(), 1, "a drained worker takes no more jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt_and_costs_nobody_else() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let worker = start(&fixture, &source);
    let three: Vec<_> = (0..3).map(|party| People::new(party, 5, false)).collect();
    source.put(finalize(&three, ResultType::Permutations, 0));
    source.put(finalize(&three, ResultType::Groups, 0));
    let calls = source.until_called(2).await;
    let panicked = |calls: &Call| matches!(calls, Call::Failed(_, why) if why.contains("panicked: permutations are for two"));
    assert!(calls.iter().any(panicked), "{calls:?}");
    assert!(calls.iter().any(|calls| matches!(calls, Call::Report(_, Outcome::Finalized(_)))), "{calls:?}");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_called_off_stops_at_once_and_is_not_reported() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let people = endless(&fixture).await;
    let worker = start(&fixture, &source);
    source.put(compare(&people, 0));
    until(|| source.waits() == 0 && !worker.shared().context.active_jobs.all().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let watch = Stopwatch::start();
    source.call_off("compare");
    until(|| worker.shared().context.active_jobs.all().is_empty()).await;
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert_eq!(source.calls(), []);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_the_jobs_it_concerns() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let people = endless(&fixture).await;
    let worker = start(&fixture, &source);
    source.put(compare(&people, 0));
    until(|| !worker.shared().context.active_jobs.all().is_empty()).await;
    source.put(Task::Purge(Purge::Run(RUN)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(fixture.objects.exists(&keys::plan(PROJECT, RUN)).await.unwrap());
    source.call_off("compare");
    assert_eq!(source.until_called(1).await, [Call::Report("purge".to_owned(), Outcome::Purged)]);
    assert!(!fixture.objects.exists(&keys::plan(PROJECT, RUN)).await.unwrap());
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_comparisons_back() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let people = endless(&fixture).await;
    let worker = start(&fixture, &source);
    source.put(compare(&people, 0));
    until(|| !worker.shared().context.active_jobs.all().is_empty()).await;
    let watch = Stopwatch::start();
    worker.drain().await;
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert_eq!(source.calls(), [Call::Released("compare".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_fails_the_run_unless_the_run_is_gone() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let worker = start(&fixture, &source);
    let people = [People::new(0, 5, false), People::new(1, 5, false)];
    source.put(compare(&people, 0));
    let calls = source.until_called(1).await;
    assert!(
        matches!(&calls[0], Call::Report(_, Outcome::Rejected { message }) if message.contains("does not exist")),
        "{calls:?}"
    );
    source.call_off("compare");
    source.put(compare(&people, 1));
    until(|| source.waits() == 0 && worker.shared().context.active_jobs.all().is_empty()).await;
    worker.drain().await;
    assert_eq!(source.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_end_is_stopped_at_its_deadline_and_has_failed() {
    let (fixture, source) = (Fixture::new(), FakeSource::default());
    let people = endless(&fixture).await;
    let worker = start_with_deadline(&fixture, &source, Duration::from_millis(300));
    source.put(compare(&people, 0));
    let calls = source.until_called(1).await;
    assert!(matches!(&calls[0], Call::Failed(_, why) if why.contains("the deadline of a job")), "{calls:?}");
    worker.drain().await;
}
