//! Claims jobs, and waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::link::Link;
use super::reply::List;
use super::scripts;
use crate::queue::{Claim, Error, Fence, Lease, LeaseId};
use crate::runtime::clock::{Clock, Timestamp};

/// The interval at which a waiting claim calls the queue. It is shorter than
/// [`UNSEEN_MAX`](crate::queue::UNSEEN_MAX), so that the clock of the leases runs in full.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// The maximum number of jobs of one claim.
const COUNT_MAX: usize = 10_000;
/// The number of bits of a fence that are the token of the claim; the others are the sequence number of the job.
const TOKEN_BITS: u32 = 64;

/// Returns the parts of a fence: the sequence number of the job, and the token of the claim.
pub(super) fn read(fence: Fence) -> (u64, u64) {
    ((fence.to_bits() >> TOKEN_BITS) as u64, fence.to_bits() as u64)
}

/// Claims jobs; waits for the first if there is none.
pub(super) async fn claim(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error> {
    let began = Clock::system().steady();
    let waited = || Clock::system().steady().since(began);
    let mut moment = now;
    loop {
        let woken = link.wake.notified();
        tokio::pin!(woken);
        // From here on, `woken` receives every notification.
        woken.as_mut().enable();
        let mut taken = take(link, claim, moment).await?;
        if !taken.leases.is_empty() {
            return Ok(std::mem::take(&mut taken.leases));
        }
        let Some(left) = claim.wait.checked_sub(waited()).filter(|left| !left.is_zero()) else {
            return Ok(Vec::new());
        };
        let pause = taken.next.map_or(PAUSE_MAX, |next| next.min(PAUSE_MAX)).min(left);
        // The next round checks the queue even without a notification.
        let _ = tokio::time::timeout(pause, woken).await;
        moment = now.after(waited());
    }
}

/// Jobs that were taken and not yet returned to the caller. Dropping it releases them.
struct Taken {
    link: Arc<Link>,
    leases: Vec<Lease>,
    /// The time until the next lease expires or the next delay ends.
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
            // A job that cannot be released now becomes ready when its lease expires.
            runtime.spawn(async move { release(&link, &leases, now).await });
        }
    }
}

/// Releases jobs.
pub(super) async fn release(link: &Link, leases: &[LeaseId], now: Timestamp) -> Result<(), Error> {
    let release = link.call(&scripts::RELEASE, now, |command| {
        for lease in leases {
            let (sequence, token) = read(lease.fence);
            command.arg(lease.job.as_str()).arg(sequence).arg(token);
        }
    });
    release.await.map(drop)
}

/// Takes jobs in a separate task, which releases them if the caller no longer waits.
async fn take(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Taken, Error> {
    let (answer, taken) = oneshot::channel();
    let (link, claim) = (Arc::clone(link), claim.clone());
    tokio::spawn(async move {
        if !answer.is_closed() {
            // If the caller no longer waits, `Taken` is dropped, which releases the jobs.
            let _ = answer.send(take_now(&link, &claim, now).await);
        }
    });
    taken.await.map_err(|_| Error::Storage("the runtime is stopping".into()))?
}

async fn take_now(link: &Arc<Link>, claim: &Claim, now: Timestamp) -> Result<Taken, Error> {
    let token = u64::from_le_bytes(link.entropy.bytes());
    let length = u64::try_from(claim.lease.as_micros()).unwrap_or(u64::MAX);
    // Fails here if there is no master: no script ran, so there is no token to remember.
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
    // The caller's clock may differ from the server's.
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

/// Converts a time between two clocks: the first shows `theirs` when the second shows `ours`.
pub(super) fn shifted(moment: Timestamp, theirs: Timestamp, ours: Timestamp) -> Timestamp {
    moment.after(ours.since(theirs)).before(theirs.since(ours))
}
