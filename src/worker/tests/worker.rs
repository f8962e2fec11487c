//! A crew at work: what it claims, what it says, and when it stops.

use std::time::Duration;

use super::job_source::{Paper, Told};
use super::people::{People, compare, finalize};
use super::{PROJECT, Place, RUN};
use crate::linkage::similarity::Kernel;
use crate::model::{Outcome, Purge, ResultType, Task};
use crate::objects::{ForeignStores, keys};
use crate::runtime::clock::Stopwatch;
use crate::worker::{Roster, Settings, Worker};

/// On the busiest machine, and far below the drain timeout and the time that the jobs here would take.
const AT_ONCE: Duration = Duration::from_secs(10);

fn start(place: &Place, desk: &Paper) -> Worker {
    start_with_deadline(place, desk, Duration::from_hours(1))
}

fn start_with_deadline(place: &Place, desk: &Paper, job_deadline: Duration) -> Worker {
    let settings = Settings {
        lease: Duration::from_secs(30),
        drain_timeout: Duration::from_secs(20),
        job_deadline,
        objects_wait: Duration::from_secs(20),
        copies_every: Duration::from_hours(1),
        roster: Roster::default(),
        memory_bytes: 1 << 30,
        disk: place.dir.path().to_owned(),
        kernel: Kernel::best(),
        foreign: ForeignStores::default(),
    };
    Worker::start(desk.clone(), place.objects.clone(), place.pool.clone(), settings)
}

/// Two datasets that cannot be compared within minutes.
async fn endless(place: &Place) -> Vec<People> {
    let parties: Vec<_> = (0..2).map(|party| People::new(party, 1_000_000, false)).collect();
    place.upload(&parties).await;
    let datasets = place.ingest(&parties).await;
    place.plan(datasets, Some(u64::MAX)).await;
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
    let (place, desk) = (Place::new(), Paper::default());
    let people = [People::new(0, 20, false), People::new(1, 20, false)];
    place.upload(&people).await;
    let worker = start(&place, &desk);
    desk.put(Task::Ingest { party: 0, upload: people[0].upload() });
    desk.put(Task::Ingest { party: 1, upload: people[1].upload() });
    desk.put(finalize(&people, ResultType::Groups, 0));
    let told = desk.until_told(3).await;
    assert!(told.iter().all(|told| matches!(told, Told::Report(..))), "{told:?}");
    desk.put(Task::Purge(Purge::Project));
    assert!(desk.until_told(4).await.contains(&Told::Report("purge".to_owned(), Outcome::Purged)));
    worker.drain().await;
    desk.put(Task::Purge(Purge::Project));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(desk.waits(), 1, "a crew that went home takes no more jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_attempt_and_costs_nobody_else() {
    let (place, desk) = (Place::new(), Paper::default());
    let worker = start(&place, &desk);
    let three: Vec<_> = (0..3).map(|party| People::new(party, 5, false)).collect();
    desk.put(finalize(&three, ResultType::Permutations, 0));
    desk.put(finalize(&three, ResultType::Groups, 0));
    let told = desk.until_told(2).await;
    let panicked = |told: &Told| matches!(told, Told::Failed(_, why) if why.contains("panicked: permutations are for two"));
    assert!(told.iter().any(panicked), "{told:?}");
    assert!(told.iter().any(|told| matches!(told, Told::Report(_, Outcome::Finalized(_)))), "{told:?}");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_called_off_stops_at_once_and_is_not_reported() {
    let (place, desk) = (Place::new(), Paper::default());
    let people = endless(&place).await;
    let worker = start(&place, &desk);
    desk.put(compare(&people, 0));
    until(|| desk.waits() == 0 && !worker.crew().shop.holds.all().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let watch = Stopwatch::start();
    desk.call_off("compare");
    until(|| worker.crew().shop.holds.all().is_empty()).await;
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert_eq!(desk.told(), []);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_the_jobs_it_concerns() {
    let (place, desk) = (Place::new(), Paper::default());
    let people = endless(&place).await;
    let worker = start(&place, &desk);
    desk.put(compare(&people, 0));
    until(|| !worker.crew().shop.holds.all().is_empty()).await;
    desk.put(Task::Purge(Purge::Run(RUN)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(place.objects.exists(&keys::plan(PROJECT, RUN)).await.unwrap());
    desk.call_off("compare");
    assert_eq!(desk.until_told(1).await, [Told::Report("purge".to_owned(), Outcome::Purged)]);
    assert!(!place.objects.exists(&keys::plan(PROJECT, RUN)).await.unwrap());
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_comparisons_back() {
    let (place, desk) = (Place::new(), Paper::default());
    let people = endless(&place).await;
    let worker = start(&place, &desk);
    desk.put(compare(&people, 0));
    until(|| !worker.crew().shop.holds.all().is_empty()).await;
    let watch = Stopwatch::start();
    worker.drain().await;
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert_eq!(desk.told(), [Told::Released("compare".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_fails_the_run_unless_the_run_is_gone() {
    let (place, desk) = (Place::new(), Paper::default());
    let worker = start(&place, &desk);
    let people = [People::new(0, 5, false), People::new(1, 5, false)];
    desk.put(compare(&people, 0));
    let told = desk.until_told(1).await;
    assert!(
        matches!(&told[0], Told::Report(_, Outcome::Rejected { message }) if message.contains("does not exist")),
        "{told:?}"
    );
    desk.call_off("compare");
    desk.put(compare(&people, 1));
    until(|| desk.waits() == 0 && worker.crew().shop.holds.all().is_empty()).await;
    worker.drain().await;
    assert_eq!(desk.told().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_end_is_stopped_at_its_deadline_and_has_failed() {
    let (place, desk) = (Place::new(), Paper::default());
    let people = endless(&place).await;
    let worker = start_with_deadline(&place, &desk, Duration::from_millis(300));
    desk.put(compare(&people, 0));
    let told = desk.until_told(1).await;
    assert!(matches!(&told[0], Told::Failed(_, why) if why.contains("the deadline of a job")), "{told:?}");
    worker.drain().await;
}
