//! Claims: wait for jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::link::Link;
use super::reply::List;
use super::scripts;
use crate::queue::{Claim, Error, Fence, Lease, LeaseId};
use crate::runtime::clock::{Clock, Timestamp};

/// Time that passes unseen does not count against leases: a claim that waits calls more often than
/// [`UNSEEN_MAX`](crate::queue::UNSEEN_MAX).
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// No claim hands out more.
const COUNT_MAX: usize = 10_000;
/// Bits of a fence that are the token of the claim; the others are the sequence of the job.
const TOKEN_BITS: u32 = 64;

/// The sequence of a job and the token of the claim, as a fence has them.
pub(super) fn read(fence: Fence) -> (u64, u64) {
    ((fence.to_bits() >> TOKEN_BITS) as u64, fence.to_bits() as u64)
}

/// Hands out jobs, waiting for the first if need be.
pub(super) async fn claim(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error> {
    let began = Clock::system().steady();
    let waited = || Clock::system().steady().since(began);
    let mut moment = now;
    loop {
        let woken = link.wake.notified();
        tokio::pin!(woken);
        // From here on no wake is missed.
        woken.as_mut().enable();
        let mut taken = take(link, claim, moment).await?;
        if !taken.leases.is_empty() {
            return Ok(std::mem::take(&mut taken.leases));
        }
        let Some(left) = claim.wait.checked_sub(waited()).filter(|left| !left.is_zero()) else {
            return Ok(Vec::new());
        };
        let pause = taken.next.map_or(PAUSE_MAX, |next| next.min(PAUSE_MAX)).min(left);
        // Woken or not, the next round finds out.
        let _ = tokio::time::timeout(pause, woken).await;
        moment = now.after(waited());
    }
}

/// Jobs taken and not handed over yet: when dropped, they go back.
struct Taken {
    link: Arc<Link>,
    leases: Vec<Lease>,
    /// The time until something happens by itself.
    next: Option<Duration>,
    now: Timestamp,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let (link, now) = (Arc::clone(&self.link), self.now);
        let leases: Vec<_> = self.leases.drain(..).map(|lease| lease.id).collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // What cannot be given back now comes back with the end of its lease.
            runtime.spawn(async move { release(&link, &leases, now).await });
        }
    }
}

/// Gives jobs back.
pub(super) async fn release(link: &Link, leases: &[LeaseId], now: Timestamp) -> Result<(), Error> {
    let release = link.call(&scripts::RELEASE, now, |command| {
        for lease in leases {
            let (sequence, token) = read(lease.fence);
            command.arg(lease.job.as_str()).arg(sequence).arg(token);
        }
    });
    release.await.map(drop)
}

/// Takes jobs in a task of its own, which sees to them if the caller is gone.
async fn take(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Taken, Error> {
    let (answer, taken) = oneshot::channel();
    let (link, claim) = (Arc::clone(link), claim.clone());
    tokio::spawn(async move {
        if !answer.is_closed() {
            // Without a caller what was taken is dropped, and goes back.
            let _ = answer.send(take_now(&link, &claim, now).await);
        }
    });
    taken.await.map_err(|_| Error::Storage("the runtime is stopping".into()))?
}

async fn take_now(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Taken, Error> {
    let token = u64::from_le_bytes(link.entropy.bytes());
    let length = u64::try_from(claim.lease.as_micros()).unwrap_or(u64::MAX);
    // Without a master nothing is taken.
    link.session().await?;
    link.orphans.lock().push(token);
    let call = link.call(&scripts::CLAIM, now, |command| {
        command.arg(claim.count.min(COUNT_MAX)).arg(length).arg(token);
        command.arg(if claim.for_guest { "" } else { &link.node });
        for share in &claim.queues {
            command.arg(share.queue.as_str()).arg(share.weight.get());
        }
    });
    let reply = call.await?;
    link.orphans.lock().retain(|orphan| *orphan != token);
    let mut answer = List::of(&reply.result)?;
    let (next, until) = (u64::try_from(answer.int()?).ok().map(Duration::from_micros), answer.moment()?);
    // The caller's clock may be another than the server's.
    let of_caller = |moment: Timestamp| shifted(moment, reply.now, now);
    let mut taken = Taken { link: Arc::clone(link), leases: Vec::new(), next, now };
    for lease in List::of(answer.value()?)? {
        let mut lease = List::of(lease)?;
        let (job, sequence) = (lease.text()?.into(), lease.text()?.parse::<u64>());
        let sequence = sequence.map_err(|_| Error::damaged("a job has no sequence"))?;
        let fence = Fence::from_bits(u128::from(sequence) << TOKEN_BITS | u128::from(token));
        taken.leases.push(Lease {
            id: LeaseId { job, fence },
            queue: lease.text()?.into(),
            group: lease.text()?.into(),
            payload: lease.bytes()?.to_vec().into(),
            attempt: lease.small()?,
            enqueued: of_caller(lease.moment()?),
            ready: of_caller(lease.moment()?),
            until: of_caller(until),
        });
    }
    Ok(taken)
}

/// A moment of a clock that shows `theirs`, by a clock that shows `ours` at the same time.
pub(super) fn shifted(moment: Timestamp, theirs: Timestamp, ours: Timestamp) -> Timestamp {
    moment.after(ours.since(theirs)).before(theirs.since(ours))
}
