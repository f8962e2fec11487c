//! Runs random operations on a broker and on a model of it, and compares the outcomes.
//!
//! `ENTITYD_SIM_SEED` replays a seed, `ENTITYD_SIM_STEPS` sets the number of operations.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::time::Duration;

use super::conformance::{Fixture, at, dead, wish};
use super::{
    Acked, Error, Group, Heartbeat, JobId, LAPSES_PER_ATTEMPT, Lease, NewJob, Progress, Pulse, Redelivery,
    UNSEEN_MAX,
};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

const QUEUES: [&str; 3] = ["q", "r", "s"];
const GROUPS: [&str; 3] = ["g", "h", "i"];
const NAMES: u64 = 40;
const LEASE: Duration = Duration::from_mins(1);
const BACKOFF_MAX: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Waiting {
        not_before: Timestamp,
    },
    /// The end of the lease, by the clock of the leases.
    Held {
        claim: usize,
        until: Duration,
    },
    Dead,
}

#[derive(Clone, Debug)]
struct Model {
    job: NewJob,
    attempts: u8,
    /// The number of leases that expired since the last one that counted as an attempt.
    lapses: u8,
    /// The delay with which the job was enqueued.
    delay: Duration,
    place: Where,
    /// Distinguishes successive jobs of this name.
    life: usize,
}

struct Simulation<'a, F> {
    fixture: &'a mut F,
    chance: Entropy,
    now: Timestamp,
    /// The clock of the leases.
    clock: Duration,
    jobs: BTreeMap<JobId, Model>,
    /// Every lease so far, with the `life` of its job, and true if the job was cancelled while it was leased.
    leases: Vec<(Lease, usize, bool)>,
    lives: usize,
}

pub(super) async fn run(fixture: &mut impl Fixture) {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = from_env("ENTITYD_SIM_SEED").unwrap_or_else(|| u64::from_le_bytes(Entropy::system().bytes()));
    let steps = from_env("ENTITYD_SIM_STEPS").unwrap_or(600);
    println!("ENTITYD_SIM_SEED={seed}");
    let mut simulation = Simulation {
        fixture,
        chance: Entropy::seeded(seed),
        now: at(0),
        clock: Duration::ZERO,
        jobs: BTreeMap::new(),
        leases: Vec::new(),
        lives: 0,
    };
    for _ in 0..steps {
        simulation.step().await;
        simulation.check().await;
    }
    simulation.drain().await;
}

impl<F: Fixture> Simulation<'_, F> {
    fn pick(&self, below: u64) -> u64 {
        u64::from_le_bytes(self.chance.bytes()) % below
    }

    async fn step(&mut self) {
        match self.pick(100) {
            0..25 => self.enqueue().await,
            25..50 => self.claim().await,
            50..65 => self.ack().await,
            65..75 => self.nack().await,
            75..80 => self.release().await,
            80..86 => self.heartbeat().await,
            86..88 => self.cancel().await,
            88..91 => self.raise().await,
            91..96 => self.pass(Duration::from_secs(self.pick(40))).await,
            96 => self.jump().await,
            97 => self.stop(true).await,
            _ => self.stop(false).await,
        }
    }

    /// Lets time pass with regular calls of the queue.
    async fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            let step = end.since(self.now).min(UNSEEN_MAX);
            (self.now, self.clock) = (self.now.after(step), self.clock + step);
            self.fixture.broker().stats(self.now).await.unwrap();
        }
    }

    /// Simulates a pause of the process, or sets the clock.
    async fn jump(&mut self) {
        let by = Duration::from_secs(61 + self.pick(7_200));
        if self.pick(2) == 0 {
            (self.now, self.clock) = (self.now.after(by), self.clock + UNSEEN_MAX);
        } else {
            self.now = self.now.before(by);
        }
        self.fixture.broker().stats(self.now).await.unwrap();
    }

    async fn enqueue(&mut self) {
        let count = 1 + self.pick(5);
        let jobs: Vec<_> = (0..count).map(|_| self.new_job()).collect();
        let mut fresh = 0;
        for job in &jobs {
            if !self.jobs.contains_key(&job.job) {
                fresh += 1;
                self.lives += 1;
                let not_before = job.not_before.unwrap_or(self.now);
                let place = Where::Waiting { not_before };
                let (job, delay, life) = (job.clone(), not_before.since(self.now), self.lives);
                let model = Model { job, attempts: 0, lapses: 0, delay, place, life };
                self.jobs.insert(model.job.job.clone(), model);
            }
        }
        assert_eq!(self.fixture.broker().enqueue(&jobs, self.now).await.unwrap(), fresh);
    }

    fn new_job(&self) -> NewJob {
        let [queue, group] = [QUEUES, GROUPS].map(|names| names[self.pick(3) as usize]);
        let job =
            NewJob::new(format!("job {}", self.pick(NAMES)), queue, group, self.pick(1_000).to_string());
        let delay = Duration::from_secs(self.pick(30));
        NewJob {
            priority: self.pick(3) as i8 - 1,
            attempts_max: NonZeroU8::new(1 + self.pick(3) as u8).unwrap(),
            not_before: (self.pick(4) == 0).then(|| self.now.after(delay)),
            ..job
        }
    }

    /// Ends the leases and delays of the model whose time has come. A clock that is set back later does not undo it.
    fn advance(&mut self) {
        for model in self.jobs.values_mut() {
            if let Where::Waiting { not_before } = &mut model.place
                && *not_before <= self.now
            {
                *not_before = Timestamp::default();
            }
            let Where::Held { until, .. } = model.place else { continue };
            if until > self.clock {
                continue;
            }
            model.place = Where::Waiting { not_before: Timestamp::default() };
            model.lapses = (model.lapses + 1) % LAPSES_PER_ATTEMPT;
            if model.lapses > 0 {
                model.attempts -= 1;
            } else if model.attempts >= model.job.attempts_max.get() {
                model.place = Where::Dead;
            }
        }
    }

    async fn claim(&mut self) {
        self.advance();
        let count = 1 + self.pick(4) as usize;
        let named: Vec<_> = QUEUES.iter().filter(|_| self.pick(3) > 0).map(|queue| (*queue, 1)).collect();
        let mut waiting = 0;
        for model in self.jobs.values_mut() {
            let Where::Waiting { not_before } = model.place else { continue };
            let wanted = named.iter().any(|(queue, _)| *queue == model.job.queue.as_str());
            if model.attempts < model.job.attempts_max.get() {
                waiting += usize::from(wanted && not_before <= self.now);
            }
        }
        let leases = self.fixture.broker().claim(&wish(&named, count), self.now).await.unwrap();
        assert_eq!(leases.len(), waiting.min(count));
        for lease in leases {
            let claim = self.leases.len();
            let model = self.jobs.get_mut(&lease.id.job).expect("only known jobs are handed out");
            assert!(matches!(model.place, Where::Waiting { not_before } if not_before <= self.now));
            model.attempts += 1;
            assert_eq!((lease.attempt, &lease.payload), (model.attempts, &model.job.payload));
            assert_eq!((&lease.queue, &lease.group), (&model.job.queue, &model.job.group));
            model.place = Where::Held { claim, until: self.clock + LEASE };
            self.leases.push((lease, model.life, false));
        }
    }

    /// Returns a random earlier lease, with the state of its job in the model; `None` if that job is gone.
    fn any_lease(&self) -> Option<(usize, Lease, Option<Where>)> {
        let recent = self.leases.len().min(12);
        let claim = self.leases.len().checked_sub(1 + self.pick(recent.max(1) as u64) as usize)?;
        let (lease, life, _) = &self.leases[claim];
        let model = self.jobs.get(&lease.id.job).filter(|model| model.life == *life);
        Some((claim, lease.clone(), model.map(|model| model.place)))
    }

    async fn ack(&mut self) {
        let Some((claim, lease, place)) = self.any_lease() else { return };
        let acked = self.fixture.broker().ack_all(std::slice::from_ref(&lease.id), self.now).await.unwrap();
        let expected = match place {
            Some(Where::Held { claim: holder, .. }) if holder != claim => Acked::Lost,
            Some(Where::Dead) | None => Acked::Done,
            Some(_) => {
                self.jobs.remove(&lease.id.job);
                Acked::Done
            }
        };
        assert_eq!(acked, [expected]);
        self.leases[claim].2 = false;
    }

    async fn nack(&mut self) {
        let Some((claim, lease, place)) = self.any_lease() else { return };
        let outcome = self.fixture.broker().nack(&lease.id, "chance", self.now).await;
        match place {
            Some(Where::Held { claim: holder, .. }) if holder == claim => {
                let model = self.jobs.get_mut(&lease.id.job).unwrap();
                if model.attempts >= model.job.attempts_max.get() {
                    assert_eq!(outcome.unwrap(), Redelivery::Dead);
                    model.place = Where::Dead;
                } else if let Redelivery::Retried { at } = outcome.unwrap() {
                    model.place = Where::Waiting { not_before: at };
                } else {
                    panic!("attempts are left");
                }
            }
            _ if self.leases[claim].2 => {
                // The lease of the job may have expired meanwhile.
                assert!(matches!(outcome, Ok(Redelivery::Cancelled) | Err(Error::LeaseLost { .. })));
                self.leases[claim].2 = false;
            }
            _ => assert!(matches!(outcome, Err(Error::LeaseLost { .. })), "{outcome:?}"),
        }
    }

    async fn release(&mut self) {
        let Some((claim, lease, place)) = self.any_lease() else { return };
        self.fixture.broker().release(std::slice::from_ref(&lease.id), self.now).await.unwrap();
        if matches!(place, Some(Where::Held { claim: holder, .. }) if holder == claim) {
            let model = self.jobs.get_mut(&lease.id.job).unwrap();
            model.attempts -= 1;
            model.place = Where::Waiting { not_before: self.now };
        }
    }

    async fn heartbeat(&mut self) {
        let Some((claim, lease, place)) = self.any_lease() else { return };
        let beat = [Heartbeat { lease: lease.id.clone(), progress: Progress::default() }];
        let pulse = self.fixture.broker().heartbeat(&beat, self.now).await.unwrap()[0];
        let held = Where::Held { claim, until: self.clock + LEASE };
        match (place, pulse) {
            (Some(Where::Held { claim: holder, .. }), Pulse::Continue { until }) if holder == claim => {
                assert_eq!(until, self.now.after(LEASE));
                self.jobs.get_mut(&lease.id.job).unwrap().place = held;
            }
            // No worker held the job, and this worker holds it again.
            (Some(Where::Waiting { not_before }), Pulse::Continue { .. }) if not_before <= self.now => {
                let model = self.jobs.get_mut(&lease.id.job).unwrap();
                model.place = held;
                if model.lapses > 0 {
                    (model.lapses, model.attempts) = (model.lapses - 1, model.attempts + 1);
                }
            }
            (None, Pulse::Stop) => assert!(self.leases[claim].2, "only cancelled jobs are to stop"),
            (Some(Where::Held { claim: holder, .. }), Pulse::Lost) => assert_ne!(holder, claim),
            (Some(Where::Waiting { .. } | Where::Dead) | None, Pulse::Lost) => {}
            unexpected => panic!("{unexpected:?}"),
        }
    }

    async fn cancel(&mut self) {
        let group = Group::from(GROUPS[self.pick(3) as usize]);
        let done = self.fixture.broker().cancel_group(&group, self.now).await.unwrap();
        let (mut removed, mut held) = (0, 0);
        self.jobs.retain(|_, model| {
            let stays = model.job.group != group;
            match model.place {
                _ if stays => {}
                Where::Held { claim, .. } => {
                    held += 1;
                    self.leases[claim].2 = true;
                }
                Where::Waiting { .. } | Where::Dead => removed += 1,
            }
            stays
        });
        // The broker may not have noticed yet that a lease expired.
        assert_eq!(done.removed + done.held, removed + held);
    }

    /// Redrives dead letters, or discards them.
    async fn raise(&mut self) {
        self.advance();
        let letters = dead(self.fixture.broker(), self.now).await;
        let Some(letter) = letters.get(self.pick(letters.len().max(1) as u64) as usize) else { return };
        let (names, broker) = ([letter.job.clone()], self.fixture.broker());
        if self.pick(2) == 0 {
            assert_eq!(broker.discard(&names, self.now).await.unwrap(), 1);
            self.jobs.remove(&letter.job);
        } else {
            assert_eq!(broker.redrive(&names, self.now).await.unwrap(), 1);
            let model = self.jobs.get_mut(&letter.job).unwrap();
            self.lives += 1;
            (model.attempts, model.lapses, model.life) = (0, 0, self.lives);
            model.place = Where::Waiting { not_before: self.now };
        }
    }

    async fn stop(&mut self, cleanly: bool) {
        self.fixture.broker().sync().await.unwrap();
        if cleanly {
            self.fixture.restart().await;
        } else {
            self.fixture.crash().await;
        }
        for model in self.jobs.values_mut() {
            model.lapses = 0;
            let longest = if model.attempts > 0 { BACKOFF_MAX } else { model.delay };
            match &mut model.place {
                Where::Held { .. } => model.place = Where::Waiting { not_before: self.now },
                Where::Waiting { not_before } => *not_before = self.now.after(longest).min(*not_before),
                Where::Dead => {}
            }
        }
        for lease in &mut self.leases {
            lease.2 = false;
        }
        // Jobs that were leased in their last attempt become dead letters when they are next in line.
        let all: Vec<_> = QUEUES.iter().map(|queue| (*queue, 1)).collect();
        let leases = self.fixture.broker().claim(&wish(&all, 1_000), self.now).await.unwrap();
        let ids: Vec<_> = leases.into_iter().map(|lease| lease.id).collect();
        self.fixture.broker().release(&ids, self.now).await.unwrap();
        for model in self.jobs.values_mut() {
            let exhausted = model.attempts >= model.job.attempts_max.get();
            if exhausted && matches!(model.place, Where::Waiting { not_before } if not_before <= self.now) {
                model.place = Where::Dead;
            }
        }
    }

    /// Compares depths and dead letters with the model.
    async fn check(&mut self) {
        self.advance();
        let stats = self.fixture.broker().stats(self.now).await.unwrap();
        for queue in QUEUES {
            let figures = stats.queues.get(queue).cloned().unwrap_or_default();
            let of = |wanted: fn(Where, Timestamp) -> bool| {
                let models = self.jobs.values().filter(|model| model.job.queue.as_str() == queue);
                models.filter(|model| wanted(model.place, self.now)).count() as u64
            };
            let ready = of(|place, now| matches!(place, Where::Waiting { not_before } if not_before <= now));
            let delayed = of(|place, now| matches!(place, Where::Waiting { not_before } if not_before > now));
            let leased = of(|place, _| matches!(place, Where::Held { .. }));
            assert_eq!((figures.ready, figures.delayed, figures.leased), (ready, delayed, leased), "{queue}");
        }
        let mut letters: Vec<_> = dead(self.fixture.broker(), self.now).await;
        letters.sort_by(|left, right| left.job.cmp(&right.job));
        let expected = self.jobs.values().filter(|model| model.place == Where::Dead);
        let expected: Vec<_> = expected.map(|model| (model.job.job.clone(), model.attempts)).collect();
        assert_eq!(
            letters.into_iter().map(|letter| (letter.job, letter.attempts)).collect::<Vec<_>>(),
            expected
        );
    }

    /// Finishes all remaining jobs.
    async fn drain(&mut self) {
        while self.jobs.values().any(|model| model.place != Where::Dead) {
            self.now = self.now.after(Duration::from_secs(100));
            self.claim().await;
            for (lease, life, _) in self.leases.split_off(0) {
                let model = self.jobs.get(&lease.id.job).filter(|model| model.life == life);
                if model.is_some_and(|model| matches!(model.place, Where::Held { .. })) {
                    let acked = self.fixture.broker().ack(&lease.id, self.now).await;
                    if acked.is_ok() {
                        self.jobs.remove(&lease.id.job);
                    }
                }
            }
        }
        self.check().await;
    }
}
