//! The conformance tests, which every broker must pass.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Acked, Broker, Claim, DeadLetter, DeadQuery, Error, Group, Heartbeat, JobEntry, JobId, JobQuery,
    JobState, LAPSES_PER_ATTEMPT, Lease, NewJob, Phase, Progress, Pulse, QueueName, QueueStats, Redelivery,
    Share, UNSEEN_MAX,
};
use crate::runtime::clock::Timestamp;

/// A broker that can be stopped.
#[async_trait]
pub(super) trait Fixture: Send {
    fn broker(&self) -> &dyn Broker;

    /// Removes the broker from the fixture, and returns it.
    fn take(&mut self) -> Box<dyn Broker>;

    /// Opens the queue again.
    async fn start(&mut self);

    /// Closes the queue regularly, and opens it again.
    async fn restart(&mut self) {
        let broker = self.take();
        broker.close().await.unwrap();
        assert!(matches!(broker.enqueue(&[job("late")], at(0)).await, Err(Error::Closed)));
        drop(broker);
        self.start().await;
    }

    /// Stops the queue as a kill does, and opens it again.
    async fn crash(&mut self);
}

/// Defines a test for each scenario; `$open` starts a [`Fixture`].
macro_rules! stories {
    ($open:expr; $($story:ident)*) => {
        $(
            #[tokio::test]
            async fn $story() {
                $crate::queue::conformance::$story(&mut $open).await;
            }
        )*
    };
    ($open:expr) => {
        $crate::queue::conformance::stories! { $open;
            an_acknowledged_job_is_gone
            a_known_job_is_skipped
            a_name_is_free_after_its_ack
            abandoned_job_returns
            a_pause_ends_no_lease
            leases_that_run_out_count_as_attempts_in_threes
            a_holder_that_comes_back_has_lost_nothing
            an_abandoned_job_may_be_acked_until_another_has_it
            a_heartbeat_extends_and_tells
            a_failed_job_backs_off_and_dies
            attempts_of_a_lost_queue_count
            dead_letters_are_redriven_and_discarded
            a_dead_job_is_still_known
            a_released_job_has_lost_nothing
            a_cancelled_group_is_gone_and_its_holders_are_told
            a_group_has_jobs_until_the_last_is_gone
            a_paused_queue_hands_out_nothing
            a_delayed_job_waits
            a_clock_that_was_ahead_makes_no_delay_longer
            starts_one_after_the_other_make_no_delay_shorter_or_longer
            a_delay_that_is_over_does_not_begin_again
            a_lease_says_since_when_its_job_could_be_had
            priority_goes_first_and_waiting_makes_up_for_it
            queues_share_by_weight
            groups_take_turns
            families_take_turns_before_their_groups
            a_claim_waits_for_work
            a_claim_wakes_when_a_delay_ends
            a_dropped_claim_takes_nothing
            figures_add_up
            jobs_are_shown
            lists_come_in_pages
            a_job_is_found_by_its_name
            many_jobs_in_one_call_all_arrive
            a_restart_keeps_everything
            after_a_sync_the_attempt_of_a_claim_survives_a_crash
            a_crash_keeps_everything_and_counts_attempts
            a_third_crash_sends_the_job_to_the_dead_letters
            after_a_restart_the_old_worker_may_finish
            after_a_restart_a_late_worker_may_not
            the_seeded_simulation_agrees_with_the_model
        }
    };
}
pub(super) use stories;

const MINUTE: Duration = Duration::from_mins(1);

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

pub(super) fn job(name: &str) -> NewJob {
    NewJob::new(name, "q", "g", format!("payload of {name}"))
}

pub(super) fn wish(queues: &[(&str, u32)], count: usize) -> Claim {
    let share = |(queue, weight): &(&str, u32)| Share {
        queue: (*queue).into(),
        weight: NonZeroU32::new(*weight).unwrap(),
    };
    Claim {
        queues: queues.iter().map(share).collect(),
        count,
        lease: MINUTE,
        wait: Duration::ZERO,
        for_guest: false,
    }
}

pub(super) async fn claim(queue: &dyn Broker, count: usize, now: Timestamp) -> Vec<Lease> {
    queue.claim(&wish(&[("q", 1)], count), now).await.unwrap()
}

/// Lets time pass with regular calls of the queue, as by workers that wait or send heartbeats.
pub(super) async fn pass(queue: &dyn Broker, from: Timestamp, to: Timestamp) {
    let mut now = from;
    while now < to {
        queue.stats(now).await.unwrap();
        now = now.after(UNSEEN_MAX);
    }
    queue.stats(to).await.unwrap();
}

async fn claim_one(queue: &dyn Broker, now: Timestamp) -> Lease {
    claim(queue, 1, now).await.pop().expect("a job waits")
}

pub(super) async fn dead(queue: &dyn Broker, now: Timestamp) -> Vec<DeadLetter> {
    let query = DeadQuery { count: usize::MAX, ..DeadQuery::default() };
    queue.dead_letters(&query, now).await.unwrap()
}

async fn stats(queue: &dyn Broker, name: &str, now: Timestamp) -> QueueStats {
    queue.stats(now).await.unwrap().queues.get(name).cloned().unwrap_or_default()
}

fn names(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.id.job.as_str()).collect()
}

pub(super) async fn an_acknowledged_job_is_gone(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    assert_eq!(queue.enqueue(&[job("a")], at(0)).await.unwrap(), 1);
    let lease = claim_one(queue, at(1)).await;
    assert_eq!((lease.id.job.as_str(), lease.attempt, lease.until), ("a", 1, at(61)));
    assert_eq!((&*lease.payload, lease.queue.as_str()), (&b"payload of a"[..], "q"));
    assert!(claim(queue, 1, at(2)).await.is_empty());
    queue.ack(&lease.id, at(3)).await.unwrap();
    queue.ack(&lease.id, at(3)).await.expect("an ack may be repeated");
    assert!(claim(queue, 1, at(100)).await.is_empty());
    fixture.restart().await;
    assert!(claim(fixture.broker(), 1, at(101)).await.is_empty());
}

pub(super) async fn a_known_job_is_skipped(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    assert_eq!(queue.enqueue(&[job("a"), job("b"), job("a")], at(0)).await.unwrap(), 2);
    let lease = claim_one(queue, at(0)).await;
    assert_eq!(queue.enqueue(&[job("a"), job("b"), job("c")], at(1)).await.unwrap(), 1);
    assert_eq!(queue.enqueue(&[], at(1)).await.unwrap(), 0);
    assert_eq!(names(&claim(queue, 9, at(1)).await), ["b", "c"]);
    queue.ack(&lease.id, at(1)).await.unwrap();
    fixture.restart().await;
    assert_eq!(fixture.broker().enqueue(&[job("b"), job("a")], at(2)).await.unwrap(), 1);
}

pub(super) async fn a_name_is_free_after_its_ack(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let mut late = None;
    for round in 0..4 {
        assert_eq!(queue.enqueue(&[job("a")], at(round)).await.unwrap(), 1);
        let lease = claim_one(queue, at(round)).await;
        assert_eq!(lease.attempt, 1);
        queue.ack(&lease.id, at(round)).await.unwrap();
        late = Some(lease);
    }
    queue.enqueue(&[job("a")], at(9)).await.unwrap();
    queue.ack(&late.unwrap().id, at(9)).await.unwrap();
    assert_eq!(
        claim(queue, 9, at(9)).await.len(),
        1,
        "a repeated ack does not touch the next job of the name"
    );
}

/// The job of a worker that vanishes returns to the queue, and that worker can no longer acknowledge it.
pub(super) async fn abandoned_job_returns(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("compare-7")], at(0)).await.unwrap();
    let lost = claim_one(queue, at(1)).await;
    pass(queue, at(1), at(60)).await;
    assert!(claim(queue, 1, at(60)).await.is_empty());
    pass(queue, at(60), at(61)).await;
    let again = claim_one(queue, at(61)).await;
    assert_eq!((&again.id.job, again.attempt), (&lost.id.job, 1), "nothing is known against the job");
    assert!(matches!(queue.ack(&lost.id, at(63)).await, Err(Error::LeaseLost { .. })));
    assert!(matches!(queue.nack(&lost.id, "late", at(63)).await, Err(Error::LeaseLost { .. })));
    queue.release(std::slice::from_ref(&lost.id), at(63)).await.unwrap();
    let both = [again.id.clone(), lost.id];
    assert_eq!(queue.ack_all(&both, at(63)).await.unwrap(), [Acked::Done, Acked::Done], "it is done");
    assert!(claim(queue, 1, at(300)).await.is_empty());
}

pub(super) async fn an_abandoned_job_may_be_acked_until_another_has_it(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let late = claim_one(queue, at(0)).await;
    pass(queue, at(0), at(61)).await;
    assert_eq!(stats(queue, "q", at(61)).await.ready, 1);
    queue.ack(&late.id, at(62)).await.unwrap();
    assert!(claim(queue, 1, at(63)).await.is_empty());
}

pub(super) async fn a_heartbeat_extends_and_tells(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let lease = claim_one(queue, at(0)).await;
    let progress = Progress { done: 1, total: 2 };
    let beat = [Heartbeat { lease: lease.id.clone(), progress }];
    pass(queue, at(0), at(50)).await;
    assert_eq!(queue.heartbeat(&beat, at(50)).await.unwrap(), [Pulse::Continue { until: at(110) }]);
    pass(queue, at(50), at(109)).await;
    assert!(claim(queue, 1, at(109)).await.is_empty());
    let shown = queue.jobs(&JobQuery { count: 9, ..JobQuery::default() }, at(109)).await.unwrap();
    assert_eq!(shown[0].state, JobState::Leased { until: at(110), progress });
    pass(queue, at(109), at(110)).await;
    let other = claim_one(queue, at(110)).await;
    assert_eq!(queue.heartbeat(&beat, at(111)).await.unwrap(), [Pulse::Lost]);
    queue.ack(&other.id, at(112)).await.unwrap();
    assert_eq!(queue.heartbeat(&beat, at(113)).await.unwrap(), [Pulse::Lost]);
}

pub(super) async fn a_failed_job_backs_off_and_dies(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let mut now = at(0);
    let mut waits = Vec::new();
    for attempt in 1..3 {
        let lease = claim_one(queue, now).await;
        assert_eq!(lease.attempt, attempt);
        let Redelivery::Retried { at: again } = queue.nack(&lease.id, "no", now).await.unwrap() else {
            panic!("attempt {attempt} is not the last");
        };
        assert!(matches!(queue.nack(&lease.id, "no", now).await, Err(Error::LeaseLost { .. })));
        assert!(claim(queue, 1, now).await.is_empty(), "it backs off");
        waits.push(again.since(now));
        now = again;
    }
    assert!(waits[0] > Duration::ZERO && waits[1] >= waits[0], "{waits:?}");
    let lease = claim_one(queue, now).await;
    assert_eq!(queue.nack(&lease.id, "the file is torn", now).await.unwrap(), Redelivery::Dead);
    assert!(claim(queue, 1, now.after(MINUTE * 60)).await.is_empty());
    let letters = dead(queue, now).await;
    assert_eq!((letters.len(), letters[0].job.as_str(), letters[0].attempts), (1, "a", 3));
    assert_eq!((letters[0].reason.as_str(), letters[0].died), ("the file is torn", now));
}

/// Claims a job and sends no heartbeat. Returns the attempt, and a time at which its lease has expired.
async fn lapse(queue: &dyn Broker, now: Timestamp) -> (u8, Timestamp) {
    let lease = claim_one(queue, now).await;
    pass(queue, now, lease.until).await;
    (lease.attempt, lease.until)
}

/// After a stop of the process, a suspension of the machine or a change of the clock, a worker can send a heartbeat
/// before its lease expires.
pub(super) async fn a_pause_ends_no_lease(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let held = claim_one(queue, at(0)).await;
    let beat = [Heartbeat { lease: held.id.clone(), progress: Progress::default() }];
    for now in [3_600, 7_200, -7_200, 1_000_000, 0].map(at) {
        assert!(claim(queue, 1, now).await.is_empty(), "{now}: its holder had no chance to speak");
        let until = now.after(MINUTE);
        assert_eq!(queue.heartbeat(&beat, now).await.unwrap(), [Pulse::Continue { until }]);
    }
    pass(queue, at(0), at(59)).await;
    assert!(claim(queue, 1, at(59)).await.is_empty());
    pass(queue, at(59), at(60)).await;
    assert_eq!(claim_one(queue, at(60)).await.attempt, 1, "a holder that stays silent loses it");
}

/// A job that kills every worker becomes a dead letter eventually.
pub(super) async fn leases_that_run_out_count_as_attempts_in_threes(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let (mut attempts, mut now) = (Vec::new(), at(0));
    for _ in 0..3 * LAPSES_PER_ATTEMPT {
        let (attempt, later) = lapse(queue, now).await;
        attempts.push(attempt);
        now = later;
    }
    assert_eq!(attempts, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
    assert!(claim(queue, 1, now).await.is_empty());
    let letters = dead(queue, now).await;
    assert_eq!(letters[0].reason, "the lease of attempt 3 of 3 ran out 3 times");
    assert_eq!(stats(queue, "q", now).await.dead, 1);
}

/// A worker continues after its lease has expired; its nack or release counts as for one attempt.
pub(super) async fn a_holder_that_comes_back_has_lost_nothing(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let held = claim_one(queue, at(0)).await;
    let beat = [Heartbeat { lease: held.id.clone(), progress: Progress::default() }];
    let mut now = at(0);
    for _ in 0..3 * LAPSES_PER_ATTEMPT {
        pass(queue, now, now.after(2 * MINUTE)).await;
        now = now.after(2 * MINUTE);
        assert_eq!(stats(queue, "q", now).await.ready, 1);
        let pulse = queue.heartbeat(&beat, now).await.unwrap();
        assert_eq!(pulse, [Pulse::Continue { until: now.after(MINUTE) }]);
    }
    queue.release(&[held.id], now).await.unwrap();
    let held = claim_one(queue, now).await;
    assert_eq!(held.attempt, 1);
    let Redelivery::Retried { at: later } = queue.nack(&held.id, "no", now).await.unwrap() else {
        panic!("two attempts are left")
    };
    assert_eq!(queue.heartbeat(&beat, later).await.unwrap(), [Pulse::Lost], "it was given back");
    assert_eq!(claim_one(queue, later).await.attempt, 2);
}

pub(super) async fn attempts_of_a_lost_queue_count(fixture: &mut impl Fixture) {
    let jobs = [3, 0, 1].map(|attempts| NewJob { attempts, ..job(&attempts.to_string()) });
    fixture.broker().enqueue(&jobs, at(0)).await.unwrap();
    fixture.crash().await;
    let queue = fixture.broker();
    let leases = claim(queue, 9, at(1)).await;
    let told: Vec<_> = leases.iter().map(|lease| (lease.id.job.as_str(), lease.attempt)).collect();
    assert_eq!(told, [("0", 1), ("1", 2)]);
    let letters = dead(queue, at(2)).await;
    assert_eq!((letters.len(), letters[0].job.as_str(), letters[0].attempts), (1, "3", 3));
}

async fn kill(queue: &dyn Broker, names: &[&str], now: Timestamp) {
    let one = std::num::NonZeroU8::MIN;
    let jobs: Vec<_> = names.iter().map(|name| NewJob { attempts_max: one, ..job(name) }).collect();
    queue.enqueue(&jobs, now).await.unwrap();
    for lease in claim(queue, jobs.len(), now).await {
        assert_eq!(queue.nack(&lease.id, "no", now).await.unwrap(), Redelivery::Dead);
    }
}

pub(super) async fn dead_letters_are_redriven_and_discarded(fixture: &mut impl Fixture) {
    kill(fixture.broker(), &["a", "b", "c", "d"], at(0)).await;
    fixture.restart().await;
    let queue = fixture.broker();
    let all = dead(queue, at(1)).await;
    assert_eq!(all.iter().map(|letter| letter.job.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let page = DeadQuery {
        queue: Some("q".into()),
        group: Some("g".into()),
        after: all[1].sequence,
        count: 1,
        may_lag: true,
    };
    assert_eq!(queue.dead_letters(&page, at(1)).await.unwrap(), all[2..3]);
    let [a, b, c] = ["a", "b", "c"].map(JobId::from);
    assert_eq!(queue.discard(&[a.clone(), "unknown".into()], at(2)).await.unwrap(), 1);
    assert_eq!(queue.redrive(&[a, b.clone(), b.clone(), c.clone()], at(2)).await.unwrap(), 2);
    assert_eq!(queue.redrive(&[b, c], at(2)).await.unwrap(), 0);
    assert_eq!(dead(queue, at(2)).await, all[3..]);
    let leases = claim(queue, 9, at(2)).await;
    assert_eq!(names(&leases), ["b", "c"]);
    assert!(leases.iter().all(|lease| lease.attempt == 1 && lease.payload.starts_with(b"payload of")));
    fixture.restart().await;
    assert_eq!(dead(fixture.broker(), at(3)).await, all[3..]);
}

pub(super) async fn a_dead_job_is_still_known(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    kill(queue, &["a"], at(0)).await;
    assert_eq!(queue.enqueue(&[job("a")], at(1)).await.unwrap(), 0);
    queue.discard(&["a".into()], at(2)).await.unwrap();
    assert_eq!(queue.enqueue(&[job("a")], at(3)).await.unwrap(), 1);
}

pub(super) async fn a_released_job_has_lost_nothing(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), job("b"), job("c")], at(0)).await.unwrap();
    for _ in 0..5 {
        let leases = claim(queue, 2, at(0)).await;
        assert_eq!(names(&leases), ["a", "b"]);
        assert!(leases.iter().all(|lease| lease.attempt == 1));
        let ids: Vec<_> = leases.into_iter().map(|lease| lease.id).collect();
        queue.release(&ids, at(0)).await.unwrap();
    }
    fixture.restart().await;
    assert_eq!(claim_one(fixture.broker(), at(1)).await.attempt, 1);
}

pub(super) async fn a_cancelled_group_is_gone_and_its_holders_are_told(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |name: &str, group: &str| NewJob { group: group.into(), ..job(name) };
    let later = NewJob { not_before: Some(at(50)), ..of("a4", "a") };
    let jobs = [of("a1", "a"), of("b1", "b"), of("a2", "a"), of("a3", "a"), later];
    queue.enqueue(&jobs, at(0)).await.unwrap();
    let held = claim(queue, 1, at(1)).await.pop().unwrap();
    assert_eq!(held.group, Group::from("a"));
    let done = queue.cancel_group(&"a".into(), at(2)).await.unwrap();
    assert_eq!((done.removed, done.held), (3, 1));
    let beat = [Heartbeat { lease: held.id.clone(), progress: Progress::default() }];
    assert_eq!(queue.heartbeat(&beat, at(3)).await.unwrap(), [Pulse::Stop]);
    assert_eq!(queue.nack(&held.id, "cancelled", at(4)).await.unwrap(), Redelivery::Cancelled);
    fixture.crash().await;
    let queue = fixture.broker();
    assert_eq!(names(&claim(queue, 9, at(200)).await), ["b1"]);
    assert_eq!(queue.enqueue(&[of("a1", "a")], at(200)).await.unwrap(), 1, "the name is free");
}

pub(super) async fn a_group_has_jobs_until_the_last_is_gone(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |name: &str, in_queue: &str, group: &str| NewJob {
        queue: in_queue.into(),
        group: group.into(),
        ..job(name)
    };
    let urgent = NewJob { priority: 3, ..of("a2", "q", "a") };
    let later = NewJob { not_before: Some(at(50)), ..of("a3", "other", "a") };
    queue.enqueue(&[of("a1", "q", "a"), urgent, later, of("b1", "q", "b")], at(0)).await.unwrap();
    fixture.crash().await;
    let queue = fixture.broker();
    let has = async |group: &str, now| queue.has_jobs(&group.into(), now).await.unwrap();
    for held in claim(queue, 9, at(1)).await {
        assert!(has("a", at(1)).await, "{} is held, or was not the last", held.id.job.as_str());
        queue.ack(&held.id, at(2)).await.unwrap();
    }
    assert!(!has("b", at(3)).await);
    assert!(has("a", at(3)).await, "one is delayed in another queue");
    queue.cancel_group(&"a".into(), at(3)).await.unwrap();
    assert!(!has("a", at(4)).await);
    assert!(!has("never", at(4)).await);
}

pub(super) async fn a_paused_queue_hands_out_nothing(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    queue.pause(&"q".into(), at(0)).await.unwrap();
    fixture.restart().await;
    let queue = fixture.broker();
    assert!(claim(queue, 1, at(1)).await.is_empty());
    assert!(stats(queue, "q", at(1)).await.paused);
    queue.resume(&"q".into(), at(2)).await.unwrap();
    fixture.restart().await;
    assert_eq!(claim(fixture.broker(), 1, at(3)).await.len(), 1);
}

pub(super) async fn a_delayed_job_waits(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let later = NewJob { not_before: Some(at(10)), ..job("a") };
    queue.enqueue(&[later, job("b")], at(0)).await.unwrap();
    assert_eq!(names(&claim(queue, 9, at(9)).await), ["b"]);
    assert_eq!(stats(queue, "q", at(9)).await.delayed, 1);
    fixture.restart().await;
    let queue = fixture.broker();
    assert_eq!(names(&claim(queue, 9, at(9)).await), ["b"]);
    assert_eq!(names(&claim(queue, 9, at(10)).await), ["a"]);
}

/// The clock is ahead when the delays are stored, and right after the restart.
pub(super) async fn a_clock_that_was_ahead_makes_no_delay_longer(fixture: &mut impl Fixture) {
    const YEAR: i64 = 365 * 86_400;
    let queue = fixture.broker();
    let later = NewJob { not_before: Some(at(YEAR + 100)), ..job("later") };
    queue.enqueue(&[job("a"), later], at(YEAR)).await.unwrap();
    let held = claim_one(queue, at(YEAR)).await;
    assert!(matches!(queue.nack(&held.id, "no", at(YEAR)).await, Ok(Redelivery::Retried { .. })));
    fixture.restart().await;
    let queue = fixture.broker();
    assert!(claim(queue, 9, at(0)).await.is_empty());
    assert_eq!(names(&claim(queue, 9, at(60)).await), ["a"], "no backoff is longer than a minute");
    assert_eq!(names(&claim(queue, 9, at(100)).await), ["later"]);
}

/// The clock is ahead; with and without another job that makes the queue rewrite all jobs.
pub(super) async fn starts_one_after_the_other_make_no_delay_shorter_or_longer(fixture: &mut impl Fixture) {
    for (start, beside) in [(10_000, true), (20_000, false)] {
        let moment = |seconds: i64| at(start + seconds);
        let later = NewJob { not_before: Some(moment(9_100)), ..job("later") };
        let jobs = if beside { vec![job("beside"), later] } else { vec![later] };
        fixture.broker().enqueue(&jobs, moment(9_000)).await.unwrap();
        fixture.restart().await;
        for lease in claim(fixture.broker(), 9, moment(0)).await {
            assert_eq!(lease.id.job.as_str(), "beside");
            fixture.broker().ack(&lease.id, moment(0)).await.unwrap();
        }
        for seconds in [30, 60, 99] {
            fixture.restart().await;
            assert!(claim(fixture.broker(), 9, moment(seconds)).await.is_empty(), "{seconds}");
        }
        let lease = claim_one(fixture.broker(), moment(100)).await;
        fixture.broker().ack(&lease.id, moment(100)).await.unwrap();
    }
}

/// The clock is set back before the next start.
pub(super) async fn a_delay_that_is_over_does_not_begin_again(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[NewJob { not_before: Some(at(1_010)), ..job("a") }], at(1_000)).await.unwrap();
    let held = claim_one(queue, at(1_010)).await;
    let Redelivery::Retried { at: retry } = queue.nack(&held.id, "no", at(1_010)).await.unwrap() else {
        panic!("it has an attempt left")
    };
    queue.enqueue(&[NewJob { not_before: Some(at(1_020)), ..job("b") }], at(1_010)).await.unwrap();
    assert_eq!(stats(queue, "q", retry.max(at(1_020))).await.ready, 2);
    fixture.restart().await;
    assert_eq!(names(&claim(fixture.broker(), 9, at(0)).await), ["a", "b"]);
}

pub(super) async fn a_lease_says_since_when_its_job_could_be_had(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), NewJob { not_before: Some(at(1_000)), ..job("later") }], at(0)).await.unwrap();
    let lease = claim_one(queue, at(5)).await;
    assert_eq!((lease.ready, lease.enqueued), (at(0), at(0)));
    queue.release(&[lease.id], at(6)).await.unwrap();
    let lease = claim_one(queue, at(8)).await;
    assert_eq!(lease.ready, at(6), "it was given back");
    pass(queue, at(8), at(80)).await;
    let lease = claim_one(queue, at(80)).await;
    assert_eq!((lease.ready, lease.attempt), (at(68), 1), "the lease before ran out");
    let Redelivery::Retried { at: retry } = queue.nack(&lease.id, "no", at(81)).await.unwrap() else {
        panic!("it has an attempt left")
    };
    let lease = claim_one(queue, retry.after(MINUTE)).await;
    assert_eq!((lease.ready, lease.enqueued), (retry, at(0)), "its pause was over");
    queue.ack(&lease.id, at(500)).await.unwrap();
    assert_eq!(claim_one(queue, at(2_000)).await.ready, at(1_000), "its delay was over");
}

pub(super) async fn priority_goes_first_and_waiting_makes_up_for_it(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |name: &str, priority| NewJob { priority, ..job(name) };
    queue.enqueue(&[of("low", -1), of("usual", 0), of("high", 1)], at(0)).await.unwrap();
    queue.enqueue(&[of("high, soon after", 1)], at(19)).await.unwrap();
    queue.enqueue(&[of("high, long after", 1)], at(21)).await.unwrap();
    let order = ["high", "usual", "high, soon after", "low", "high, long after"];
    assert_eq!(names(&claim(queue, 9, at(21)).await), order);
}

pub(super) async fn queues_share_by_weight(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |number: usize, queue: &str| NewJob { queue: queue.into(), ..job(&format!("{queue}{number}")) };
    for name in ["one", "three", "other"] {
        let jobs: Vec<_> = (0..200).map(|number| of(number, name)).collect();
        queue.enqueue(&jobs, at(0)).await.unwrap();
    }
    // A claim from one queue alone does not reduce the later share of that queue.
    assert_eq!(queue.claim(&wish(&[("three", 1)], 50), at(0)).await.unwrap().len(), 50);
    let leases = queue.claim(&wish(&[("one", 1), ("three", 3)], 40), at(0)).await.unwrap();
    let ones = leases.iter().filter(|lease| lease.queue == QueueName::from("one")).count();
    assert!((9..=13).contains(&ones), "{ones} of 40");
    let leases = queue.claim(&wish(&[("one", 1), ("none", 9)], 10), at(0)).await.unwrap();
    assert_eq!(leases.len(), 10, "an empty queue's share goes to the others");
}

pub(super) async fn groups_take_turns(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |number: usize, group: &str| NewJob { group: group.into(), ..job(&format!("{group}{number}")) };
    let many: Vec<_> = (0..2_000).map(|number| of(number, "many")).collect();
    queue.enqueue(&many, at(0)).await.unwrap();
    let few: Vec<_> = (0..10).map(|number| of(number, "few")).collect();
    queue.enqueue(&few, at(1)).await.unwrap();
    let leases = claim(queue, 21, at(2)).await;
    let few = leases.iter().filter(|lease| lease.group == Group::from("few"));
    assert_eq!(
        names(&few.cloned().collect::<Vec<_>>()),
        (0..10).map(|n| format!("few{n}")).collect::<Vec<_>>()
    );
}

pub(super) async fn families_take_turns_before_their_groups(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let of = |group: String| NewJob { group: group.clone().into(), ..job(&group) };
    let large: Vec<_> = (0..400).map(|number| of(format!("large/{number}"))).collect();
    queue.enqueue(&large, at(0)).await.unwrap();
    let small: Vec<_> = (0..3).map(|number| of(format!("small/{number}"))).collect();
    queue.enqueue(&small, at(1)).await.unwrap();
    let taken = claim(queue, 6, at(2)).await;
    let families: Vec<_> = taken.iter().map(|lease| lease.group.family().to_string()).collect();
    assert_eq!(families, ["large", "small", "large", "small", "large", "small"]);
    queue.cancel_group(&Group::from("large/3"), at(3)).await.unwrap();
    let left = claim(queue, 400, at(4)).await;
    assert_eq!(left.len(), 396, "groups are cancelled one by one");
}

pub(super) async fn a_claim_waits_for_work(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let patient = Claim { wait: Duration::from_secs(20), ..wish(&[("q", 1)], 1) };
    let (leases, ()) = tokio::join!(queue.claim(&patient, at(0)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        queue.enqueue(&[job("a")], at(0)).await.unwrap();
    });
    assert_eq!(names(&leases.unwrap()), ["a"]);
    let brief = Claim { wait: Duration::from_millis(20), ..patient };
    assert!(queue.claim(&brief, at(1)).await.unwrap().is_empty());
}

pub(super) async fn a_claim_wakes_when_a_delay_ends(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let soon = at(0).after(Duration::from_millis(80));
    queue.enqueue(&[NewJob { not_before: Some(soon), ..job("a") }], at(0)).await.unwrap();
    let patient = Claim { wait: Duration::from_secs(20), ..wish(&[("q", 1)], 1) };
    assert_eq!(names(&queue.claim(&patient, at(0)).await.unwrap()), ["a"]);
}

pub(super) async fn a_dropped_claim_takes_nothing(fixture: &mut impl Fixture) {
    fixture.broker().enqueue(&[job("a")], at(0)).await.unwrap();
    // After a restart the payload must be read from the disk, so the first poll does not complete the claim.
    fixture.restart().await;
    let queue = fixture.broker();
    let claim_all = wish(&[("q", 1)], 1);
    let mut dropped = Box::pin(queue.claim(&claim_all, at(1)));
    let polled = futures::poll!(dropped.as_mut());
    drop(dropped);
    if polled.is_pending() {
        assert_eq!(claim_one(queue, at(2)).await.attempt, 1);
    }
}

pub(super) async fn figures_add_up(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let later = NewJob { not_before: Some(at(99)), ..job("later") };
    queue.enqueue(&[job("a"), job("b"), job("c"), job("d"), later], at(0)).await.unwrap();
    let leases = claim(queue, 3, at(5)).await;
    queue.ack(&leases[0].id, at(5)).await.unwrap();
    queue.nack(&leases[1].id, "no", at(5)).await.unwrap();
    let figures = stats(queue, "q", at(5)).await;
    assert_eq!((figures.depth, figures.ready, figures.delayed, figures.leased), (4, 1, 2, 1));
    assert_eq!((figures.dead, figures.oldest_ms), (0, Some(5_000)));
    let counted = [figures.enqueued_per_second, figures.acked_per_second, figures.failed_per_second];
    assert_eq!(counted.map(|rate| (rate * 60.0).round() as u64), [5, 1, 1]);
}

pub(super) async fn jobs_are_shown(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let other = NewJob { queue: "other".into(), group: "h".into(), priority: 5, ..job("z") };
    queue.enqueue(&[job("a"), job("b"), other], at(0)).await.unwrap();
    claim_one(queue, at(1)).await;
    let query = JobQuery { queue: Some("q".into()), count: 9, ..JobQuery::default() };
    let mut shown = queue.jobs(&query, at(2)).await.unwrap();
    shown.sort_by(|left, right| left.job.cmp(&right.job));
    assert_eq!(
        shown.iter().map(|job| (job.job.as_str(), job.attempts)).collect::<Vec<_>>(),
        [("a", 1), ("b", 0)]
    );
    assert_eq!((shown[1].state, shown[1].enqueued), (JobState::Ready, at(0)));
    let query = JobQuery { group: Some("h".into()), count: 9, ..JobQuery::default() };
    let shown = queue.jobs(&query, at(2)).await.unwrap();
    assert_eq!((shown.len(), shown[0].priority, shown[0].job.as_str()), (1, 5, "z"));
}

pub(super) async fn lists_come_in_pages(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    for number in 0..10 {
        let of = |kind: &str| job(&format!("{kind}{number}"));
        let later = NewJob { not_before: Some(at(99)), ..of("later") };
        queue.enqueue(&[of("now"), later], at(number)).await.unwrap();
    }
    claim(queue, 3, at(10)).await;
    let count = |phase| JobQuery { phase: Some(phase), count: 99, ..JobQuery::default() };
    for (phase, jobs) in [(Phase::Leased, 3), (Phase::Ready, 7), (Phase::Delayed, 10)] {
        let shown = queue.jobs(&count(phase), at(11)).await.unwrap();
        assert_eq!(shown.len(), jobs, "{phase:?}");
        assert!(shown.iter().all(|job| job.state.phase() == phase));
    }
    let mut query = JobQuery { queue: Some("q".into()), count: 3, ..JobQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = queue.jobs(&query, at(11)).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = last.sequence;
        assert!(page.len() <= 3 && page.is_sorted_by_key(|job| job.sequence));
        seen.extend(page.into_iter().map(|job| job.job));
    }
    assert_eq!(seen.len(), 20);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20, "no job is on two pages");
    assert_eq!(stats(queue, "q", at(12)).await.longest_lease_ms, Some(2_000));
}

pub(super) async fn a_job_is_found_by_its_name(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    kill(queue, &["dead"], at(0)).await;
    queue.enqueue(&[job("a"), NewJob { not_before: Some(at(50)), ..job("b") }], at(1)).await.unwrap();
    let lease = claim_one(queue, at(2)).await;
    for round in 0..2 {
        let queue = fixture.broker();
        let of = async |name: &str| queue.show(&name.into(), at(3)).await.unwrap();
        let a = of("a").await.expect("it lives");
        assert_eq!((&*a.payload, a.attempts_max.get()), (&b"payload of a"[..], 3));
        let JobEntry::Living(shown) = a.entry else { panic!("it lives") };
        assert_eq!((shown.job.as_str(), shown.attempts, shown.enqueued), ("a", 1, at(1)));
        assert_eq!(shown.state.phase(), if round == 0 { Phase::Leased } else { Phase::Ready });
        let JobEntry::Living(b) = of("b").await.expect("it lives").entry else { panic!("it lives") };
        assert_eq!(b.state, JobState::Delayed { until: at(50) });
        let dead = of("dead").await.expect("it is dead");
        assert_eq!((&*dead.payload, dead.attempts_max.get()), (&b"payload of dead"[..], 1));
        assert!(matches!(dead.entry, JobEntry::Dead(letter) if letter.reason == "no"));
        assert!(of("unknown").await.is_none());
        fixture.restart().await;
    }
    let queue = fixture.broker();
    queue.ack(&lease.id, at(4)).await.unwrap();
    assert!(queue.show(&"a".into(), at(5)).await.unwrap().is_none());
}

pub(super) async fn many_jobs_in_one_call_all_arrive(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    let jobs: Vec<_> = (0..5_000).map(|number| job(&number.to_string())).collect();
    let large = NewJob { payload: vec![7; 50_000].into(), ..job("large") };
    assert_eq!(queue.enqueue(&jobs, at(0)).await.unwrap(), jobs.len());
    assert_eq!(queue.enqueue(std::slice::from_ref(&large), at(0)).await.unwrap(), 1);
    let too_large = NewJob { payload: vec![7; 1 << 20].into(), ..job("too large") };
    let refused = queue.enqueue(&[too_large, job("beside it")], at(0)).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    fixture.crash().await;
    let queue = fixture.broker();
    let leases = claim(queue, 9_999, at(1)).await;
    assert_eq!(leases.len(), jobs.len() + 1);
    for (lease, job) in leases.iter().zip(jobs.iter().chain([&large])) {
        assert_eq!((&lease.id.job, &lease.payload), (&job.job, &job.payload));
    }
    let ids: Vec<_> = leases.into_iter().map(|lease| lease.id).collect();
    assert!(queue.ack_all(&ids, at(2)).await.unwrap().iter().all(|acked| *acked == Acked::Done));
    fixture.crash().await;
    assert_eq!(stats(fixture.broker(), "q", at(3)).await.depth, 0);
}

pub(super) async fn a_restart_keeps_everything(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), job("b"), job("c")], at(0)).await.unwrap();
    let first = claim_one(queue, at(0)).await;
    let Redelivery::Retried { at: again } = queue.nack(&first.id, "no", at(0)).await.unwrap() else {
        panic!("the first attempt is not the last");
    };
    let second = claim_one(queue, at(0)).await;
    queue.ack(&second.id, at(0)).await.unwrap();
    fixture.restart().await;
    let queue = fixture.broker();
    assert_eq!(names(&claim(queue, 9, at(0)).await), ["c"], "the backoff outlasts the restart");
    let retried = claim_one(queue, again).await;
    assert_eq!((retried.id.job.as_str(), retried.attempt), ("a", 2));
}

pub(super) async fn a_crash_keeps_everything_and_counts_attempts(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), job("b")], at(0)).await.unwrap();
    let lease = claim_one(queue, at(0)).await;
    assert_eq!(lease.id.job.as_str(), "a");
    // A job that has run for 100 ms has used its attempt.
    tokio::time::sleep(Duration::from_millis(150)).await;
    fixture.crash().await;
    let leases = claim(fixture.broker(), 9, at(1)).await;
    let told: Vec<_> = leases.iter().map(|lease| (lease.id.job.as_str(), lease.attempt)).collect();
    assert_eq!(told, [("a", 2), ("b", 1)]);
}

pub(super) async fn after_a_sync_the_attempt_of_a_claim_survives_a_crash(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), job("b")], at(0)).await.unwrap();
    claim_one(queue, at(0)).await;
    queue.sync().await.unwrap();
    fixture.crash().await;
    let leases = claim(fixture.broker(), 9, at(1)).await;
    let attempts: Vec<_> = leases.iter().map(|lease| (lease.id.job.as_str(), lease.attempt)).collect();
    assert_eq!(attempts, [("a", 2), ("b", 1)]);
}

pub(super) async fn a_third_crash_sends_the_job_to_the_dead_letters(fixture: &mut impl Fixture) {
    fixture.broker().enqueue(&[job("poison"), job("innocent")], at(0)).await.unwrap();
    for round in 1..=3 {
        let lease = claim_one(fixture.broker(), at(round)).await;
        assert_eq!((lease.id.job.as_str(), lease.attempt), ("poison", round as u8));
        tokio::time::sleep(Duration::from_millis(150)).await;
        fixture.crash().await;
    }
    // The dead letter must be written although no call asks for dead letters.
    assert_eq!(claim_one(fixture.broker(), at(9)).await.id.job.as_str(), "innocent");
    tokio::time::sleep(Duration::from_millis(150)).await;
    fixture.crash().await;
    let queue = fixture.broker();
    let lease = claim_one(queue, at(10)).await;
    assert_eq!((lease.id.job.as_str(), lease.attempt), ("innocent", 2));
    let letters = dead(queue, at(10)).await;
    assert_eq!((letters[0].job.as_str(), letters[0].attempts), ("poison", 3));
    assert_eq!(letters[0].reason, "the process stopped in attempt 3 of 3");
}

pub(super) async fn after_a_restart_the_old_worker_may_finish(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a"), job("b")], at(0)).await.unwrap();
    let leases = claim(queue, 2, at(0)).await;
    fixture.restart().await;
    let queue = fixture.broker();
    queue.ack(&leases[0].id, at(1)).await.unwrap();
    let beat = [Heartbeat { lease: leases[1].id.clone(), progress: Progress::default() }];
    let pulse = queue.heartbeat(&beat, at(1)).await.unwrap();
    assert!(matches!(pulse[..], [Pulse::Continue { .. }]), "{pulse:?}");
    assert!(claim(queue, 9, at(2)).await.is_empty(), "one is done, one is held again");
    queue.ack(&leases[1].id, at(3)).await.unwrap();
    assert_eq!(stats(queue, "q", at(4)).await.depth, 0);
}

pub(super) async fn after_a_restart_a_late_worker_may_not(fixture: &mut impl Fixture) {
    let queue = fixture.broker();
    queue.enqueue(&[job("a")], at(0)).await.unwrap();
    let late = claim_one(queue, at(0)).await;
    fixture.restart().await;
    let queue = fixture.broker();
    let holder = claim_one(queue, at(1)).await;
    assert!(matches!(queue.ack(&late.id, at(2)).await, Err(Error::LeaseLost { .. })));
    let beat = [Heartbeat { lease: late.id, progress: Progress::default() }];
    assert_eq!(queue.heartbeat(&beat, at(2)).await.unwrap(), [Pulse::Lost]);
    queue.ack(&holder.id, at(3)).await.unwrap();
}

/// Runs the seeded [simulation](super::simulation).
pub(super) async fn the_seeded_simulation_agrees_with_the_model(fixture: &mut impl Fixture) {
    super::simulation::run(fixture).await;
}
