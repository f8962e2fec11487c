//! The broker of a queue in Redis. Each call runs a script.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Script};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::access::{Access, Target, explained};
use super::acks::{self, Acks};
use super::checks::{Info, setting};
use super::claim::{self, read, shifted};
use super::link::{Link, State};
use super::reply::{List, Reply, int};
use super::scripts::Reading;
use super::settings::Settings;
use super::standing::Standing;
use super::{connect, reconnect, scripts, sentinel};
use crate::queue::broker::JOB_BYTES_MAX;
use crate::queue::{
    Acked, Broker, Cancelled, Claim, DeadLetter, DeadQuery, Error, Group, Heartbeat, JobDetail, JobEntry,
    JobId, JobQuery, JobState, JobSummary, Lease, LeaseId, NewJob, Phase, Progress, Pulse, QueueName,
    QueueStats, Redelivery, Stats,
};
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;
use crate::system::engine;

/// The maximum number of jobs that one script reads: other calls wait while it runs.
const AT_ONCE: usize = 1_000;
/// The pause between two checks whether a rewrite of the append-only file has ended.
const REWRITE_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of distinct pauses after failed attempts.
const PAUSES_MAX: u8 = 32;

/// The queue in Redis. Dropping it changes nothing.
#[derive(Debug)]
pub struct RedisBroker {
    link: Arc<Link>,
    acks: Arc<Acks>,
    tasks: Vec<JoinHandle<()>>,
}

impl RedisBroker {
    /// Connects once, and returns a report on the server. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Storage`] if there is no master, or it rejects the password or has settings that would lose jobs.
    pub async fn inspect(access: &Access) -> Result<engine::Report, Error> {
        connect::inspect(access).await.map_err(|refusal| Error::Storage(refusal.reason().into()))
    }

    /// Opens the queue of a database, which is created if it does not exist, and takes over the jobs that an earlier
    /// process held.
    ///
    /// # Errors
    /// [`Error::Storage`] if there is no master, or it rejects the password, has settings that would lose jobs, or
    /// has the queue of another data directory.
    pub async fn open(settings: Settings, entropy: Entropy) -> Result<Self, Error> {
        let standing = match &settings.directory {
            Some(directory) => Standing::read(directory).map_err(|error| Error::Storage(error.into()))?,
            None => None,
        };
        let (events, heard) = mpsc::unbounded_channel();
        let access = settings.access.clone();
        let link = Arc::new(Link::new(settings, entropy, events.clone(), standing));
        let session = reconnect::start(&link).await?;
        reconnect::publish(&link, &session);
        let mut tasks = vec![tokio::spawn(reconnect::keep(Arc::clone(&link), session, heard))];
        if let Target::Sentinels { addresses, name } = &access.url().target {
            let listen = |address: &super::access::Address| {
                sentinel::listen(access.clone(), address.clone(), name.clone(), events.clone())
            };
            tasks.extend(addresses.iter().map(|address| tokio::spawn(listen(address))));
        }
        Ok(Self { link, acks: Arc::default(), tasks })
    }

    async fn call(
        &self,
        script: &Script,
        now: Timestamp,
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Reply, Error> {
        self.link.call(script, now, arguments).await
    }

    async fn count(
        &self,
        script: &Script,
        now: Timestamp,
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<usize, Error> {
        let reply = self.call(script, now, arguments).await?;
        usize::try_from(int(&reply.result)?).map_err(|error| Error::Damaged(error.into()))
    }

    async fn set_paused(&self, queue: &QueueName, paused: bool, now: Timestamp) -> Result<(), Error> {
        let call = self.call(&scripts::PAUSE, now, |command| {
            command.arg(queue.as_str()).arg(u8::from(paused));
        });
        call.await.map(drop)
    }

    fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lease_of(command: &mut Cmd, lease: &LeaseId) {
    let (sequence, token) = read(lease.fence);
    command.arg(lease.job.as_str()).arg(sequence).arg(token);
}

fn names_of(jobs: &[JobId]) -> impl Fn(&mut Cmd) + Send + Sync + '_ {
    |command| jobs.iter().for_each(|job| _ = command.arg(job.as_str()))
}

/// Returns the text of a name, or an empty text, which stands for any name.
fn or_any(name: Option<&str>) -> &str {
    name.unwrap_or("")
}

fn letter(mut letter: List<'_>) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        job: letter.text()?.into(),
        sequence: letter.number()?,
        queue: letter.text()?.into(),
        group: letter.text()?.into(),
        attempts: letter.small()?,
        reason: letter.text()?.to_owned(),
        died: letter.moment()?,
    })
}

fn summary(mut job: List<'_>) -> Result<JobSummary, Error> {
    let (name, sequence, queue, group) = (job.text()?, job.number()?, job.text()?, job.text()?);
    let (priority, state, until) = (job.small()?, job.text()?, job.moment()?);
    let progress = Progress { done: job.number()?, total: job.number()? };
    Ok(JobSummary {
        sequence,
        job: name.into(),
        queue: queue.into(),
        group: group.into(),
        priority,
        state: match state {
            "d" => JobState::Delayed { until },
            "h" => JobState::Leased { until, progress },
            _ => JobState::Ready,
        },
        attempts: job.small()?,
        enqueued: job.moment()?,
    })
}

fn figures(mut queue: List<'_>, now: Timestamp) -> Result<(QueueName, QueueStats), Error> {
    let age = |since: i64| {
        let age = now.since(Timestamp::from_micros(since)).as_millis();
        (since > 0).then(|| u64::try_from(age).unwrap_or(u64::MAX))
    };
    let name = queue.text()?.into();
    let (ready, delayed, leased, dead) = (queue.number()?, queue.number()?, queue.number()?, queue.number()?);
    let (paused, oldest, longest) = (queue.int()? == 1, queue.int()?, queue.int()?);
    let mut rate = || Ok::<_, Error>(queue.int()? as f64 / 60.0);
    let figures = QueueStats {
        depth: ready + delayed + leased,
        ready,
        delayed,
        leased,
        dead,
        paused,
        oldest_ms: age(oldest).filter(|_| ready > 0),
        longest_lease_ms: age(longest),
        enqueued_per_second: rate()?,
        acked_per_second: rate()?,
        failed_per_second: rate()?,
    };
    Ok((name, figures))
}

#[async_trait]
impl Broker for RedisBroker {
    async fn enqueue(&self, jobs: &[NewJob], now: Timestamp) -> Result<usize, Error> {
        if let Some(job) = jobs.iter().find(|job| job.size_bytes() > JOB_BYTES_MAX) {
            let (job, size_bytes) = (job.job.clone(), job.size_bytes());
            return Err(Error::TooLarge { job, size_bytes, size_bytes_max: JOB_BYTES_MAX });
        }
        if jobs.is_empty() {
            return Ok(0);
        }
        let enqueue = self.count(&scripts::ENQUEUE, now, |command| {
            for job in jobs {
                let delay = job.not_before.map_or(Duration::ZERO, |moment| moment.since(now));
                command.arg(job.job.as_str()).arg(job.queue.as_str()).arg(job.group.as_str());
                command.arg(job.priority).arg(micros(delay)).arg(job.attempts).arg(job.attempts_max.get());
                command.arg(&job.payload[..]);
            }
        });
        enqueue.await
    }

    async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error> {
        claim::claim(&self.link, claim, now).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.call(&scripts::SYNC, Timestamp::default(), |_| {}).await.map(drop)
    }

    async fn heartbeat(&self, beats: &[Heartbeat], now: Timestamp) -> Result<Vec<Pulse>, Error> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        let length = micros(self.link.settings.lease_taken_up);
        let call = self.call(&scripts::HEARTBEAT, now, |command| {
            command.arg(length);
            for beat in beats {
                lease_of(command, &beat.lease);
                command.arg(beat.progress.done).arg(beat.progress.total);
            }
        });
        let reply = call.await?;
        let pulse = |answer| {
            Ok(match int(answer)? {
                -1 => Pulse::Stop,
                -2 => Pulse::Lost,
                until => Pulse::Continue { until: shifted(Timestamp::from_micros(until), reply.now, now) },
            })
        };
        List::of(&reply.result)?.map(pulse).collect()
    }

    async fn ack_all(&self, leases: &[LeaseId], now: Timestamp) -> Result<Vec<Acked>, Error> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        acks::ack(&self.acks, &self.link, leases, now).await
    }

    async fn nack(&self, lease: &LeaseId, reason: &str, now: Timestamp) -> Result<Redelivery, Error> {
        let Settings { backoff, .. } = &self.link.settings;
        let pauses: Vec<u64> =
            (1..=PAUSES_MAX).map(|attempts| micros(backoff.after(attempts, &self.link.entropy))).collect();
        let call = self.call(&scripts::NACK, now, |command| {
            lease_of(command, lease);
            command.arg(reason).arg(micros(backoff.longest)).arg(&pauses);
        });
        let reply = call.await?;
        match int(&reply.result)? {
            -1 => Ok(Redelivery::Dead),
            -2 => Ok(Redelivery::Cancelled),
            -3 => Err(Error::LeaseLost { job: lease.job.clone() }),
            at => Ok(Redelivery::Retried { at: shifted(Timestamp::from_micros(at), reply.now, now) }),
        }
    }

    async fn release(&self, leases: &[LeaseId], now: Timestamp) -> Result<(), Error> {
        if leases.is_empty() { Ok(()) } else { claim::release(&self.link, leases, now).await }
    }

    async fn cancel_group(&self, group: &Group, now: Timestamp) -> Result<Cancelled, Error> {
        let mut cancelled = Cancelled::default();
        loop {
            let call = self.call(&scripts::CANCEL, now, |command| {
                command.arg(group.as_str()).arg(AT_ONCE);
            });
            let reply = call.await?;
            let mut answer = List::of(&reply.result)?;
            cancelled.removed += answer.number()?;
            cancelled.held += answer.number()?;
            if answer.int()? == 0 {
                return Ok(cancelled);
            }
        }
    }

    async fn pause(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error> {
        self.set_paused(queue, true, now).await
    }

    async fn resume(&self, queue: &QueueName, now: Timestamp) -> Result<(), Error> {
        self.set_paused(queue, false, now).await
    }

    async fn dead_letters(&self, query: &DeadQuery, now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
        let (queue, group) = (query.queue.as_ref(), query.group.as_ref());
        let (mut letters, mut after) = (Vec::new(), query.after);
        loop {
            let call = self.link.read(&Reading::DEAD_LETTERS, query.may_lag, now, |command| {
                command.arg(or_any(queue.map(QueueName::as_str))).arg(or_any(group.map(Group::as_str)));
                command.arg(after).arg(AT_ONCE);
            });
            let reply = call.await?;
            let mut answer = List::of(&reply.result)?;
            let more = answer.int()? == 1;
            after = answer.number()?;
            for found in List::of(answer.value()?)? {
                letters.push(letter(List::of(found)?)?);
            }
            if !more || letters.len() >= query.count {
                letters.truncate(query.count);
                return Ok(letters);
            }
        }
    }

    async fn redrive(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error> {
        self.count(&scripts::REDRIVE, now, names_of(jobs)).await
    }

    async fn discard(&self, jobs: &[JobId], now: Timestamp) -> Result<usize, Error> {
        self.count(&scripts::DISCARD, now, names_of(jobs)).await
    }

    async fn show(&self, job: &JobId, now: Timestamp) -> Result<Option<JobDetail>, Error> {
        let call = self.call(&scripts::SHOW, now, |command| _ = command.arg(job.as_str()));
        let reply = call.await?;
        let mut answer = List::of(&reply.result)?;
        if answer.is_empty() {
            return Ok(None);
        }
        let attempts_max =
            answer.small::<u8>()?.try_into().map_err(|_| Error::damaged("a job has no attempts"))?;
        let payload = answer.bytes()?.to_vec().into();
        let (kind, entry) = (answer.text()?, List::of(answer.value()?)?);
        let entry =
            if kind == "dead" { JobEntry::Dead(letter(entry)?) } else { JobEntry::Living(summary(entry)?) };
        Ok(Some(JobDetail { entry, attempts_max, payload }))
    }

    async fn jobs(&self, query: &JobQuery, now: Timestamp) -> Result<Vec<JobSummary>, Error> {
        let (queue, group) = (query.queue.as_ref(), query.group.as_ref());
        let phase = match query.phase {
            None => "",
            Some(Phase::Ready) => "r",
            Some(Phase::Delayed) => "d",
            Some(Phase::Leased) => "h",
        };
        let (mut jobs, mut after) = (Vec::new(), query.after);
        loop {
            let call = self.link.read(&Reading::JOBS, query.may_lag, now, |command| {
                command.arg(or_any(queue.map(QueueName::as_str))).arg(or_any(group.map(Group::as_str)));
                command.arg(phase).arg(after).arg(AT_ONCE);
            });
            let reply = call.await?;
            let mut answer = List::of(&reply.result)?;
            let more = answer.int()? == 1;
            after = answer.number()?;
            for found in List::of(answer.value()?)? {
                jobs.push(summary(List::of(found)?)?);
            }
            if !more || jobs.len() >= query.count {
                jobs.truncate(query.count);
                return Ok(jobs);
            }
        }
    }

    async fn has_jobs(&self, group: &Group, now: Timestamp) -> Result<bool, Error> {
        let call = self.count(&scripts::HAS_JOBS, now, |command| _ = command.arg(group.as_str()));
        call.await.map(|jobs| jobs > 0)
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, Error> {
        let reply = self.link.read(&Reading::STATS, true, now, |_| {}).await?;
        let queues = List::of(&reply.result)?.map(|queue| figures(List::of(queue)?, reply.now));
        Ok(Stats { queues: queues.collect::<Result<_, Error>>()? })
    }

    fn renewals(&self) -> u64 {
        *self.link.renewals.borrow()
    }

    async fn renewed(&self, after: u64) {
        let mut renewals = self.link.renewals.subscribe();
        // The sender exists as long as `self`.
        let _ = renewals.wait_for(|renewals| *renewals > after).await;
    }

    async fn describe(&self) -> Option<String> {
        let session = self.link.session().await.ok()?;
        let info = Info::of(&session.connection).await.ok()?;
        let found = match &self.link.settings.access.url().target {
            Target::Server(_) => String::new(),
            Target::Sentinels { addresses, name } => {
                let agree = sentinel::agreeing(&self.link.settings.access, addresses, name, &session.address);
                let read = self.link.reads_from().await;
                let read = read.map_or(String::new(), |replica| format!(", lists from {replica}"));
                format!(", named {name} by {} of {} Sentinels{read}", agree.await, addresses.len())
            }
        };
        Some(format!("{} at {}{found}", info.described(), session.address))
    }

    async fn accepts(&self) -> Result<(), Error> {
        let failed = |error: redis::RedisError| Error::Storage(explained(&error).into());
        let session = self.link.session().await?;
        let mut connection = session.connection.clone();
        let info = Info::of(&connection).await.map_err(failed)?;
        let replicas_min = setting(&mut connection, "min-replicas-to-write").await;
        let replicas_min = replicas_min.and_then(|number| number.parse().ok()).unwrap_or(0);
        info.reason_against_writes(replicas_min).map_or(Ok(()), |reason| {
            Err(Error::Storage(format!("Redis at {}: {reason}", session.address).into()))
        })
    }

    async fn failed(&self) -> Error {
        let mut state = self.link.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Ended(_))).await;
        match ended.map(|state| state.clone()) {
            Ok(State::Ended(reason)) => Error::Storage(reason.to_string().into()),
            _ => std::future::pending().await,
        }
    }

    async fn erase_traces(&self) -> Result<(), Error> {
        let failed = |error: redis::RedisError| Error::Storage(error.into());
        let session = self.link.session().await?;
        let mut connection = session.connection.clone();
        let has_snapshots = setting(&mut connection, "save").await.is_none_or(|save| !save.is_empty());
        let has_log = Info::of(&session.connection).await.map_err(failed)?.writes_a_log();
        for (writes, command) in [(has_log, "BGREWRITEAOF"), (has_snapshots, "BGSAVE")] {
            if !writes {
                continue;
            }
            // A rewrite in progress may have begun before the deletion, so it does not count.
            while Info::of(&session.connection).await.map_err(failed)?.rewrites() {
                tokio::time::sleep(REWRITE_PAUSE).await;
            }
            redis::cmd(command).exec_async(&mut connection).await.map_err(failed)?;
        }
        while Info::of(&session.connection).await.map_err(failed)?.rewrites() {
            tokio::time::sleep(REWRITE_PAUSE).await;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        self.stop();
        self.link.state.send_replace(State::Closed);
        self.link.wake.notify_waiters();
        let standing = self.link.standing.lock().clone();
        match standing {
            Some(standing) => {
                self.link.remember(&standing).await.map(drop).map_err(|reason| Error::Storage(reason.into()))
            }
            None => Ok(()),
        }
    }
}
