//! Claims jobs: waits for them, and reads their names and payloads from the disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::engine::layout::{Body, damaged};
use super::shared::Shared;
use super::state::lease_ops::Claimed;
use crate::queue::{Claim, Error, Lease, LeaseId};
use crate::runtime::clock::{Clock, Timestamp};

/// The interval at which a waiting claim looks for jobs again: a lease that is granted during the wait may expire
/// before every deadline known at its beginning. The interval is shorter than
/// [`UNSEEN_MAX`](crate::queue::UNSEEN_MAX), so that the clock of the leases runs in full.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// Claims jobs; waits for the first if there is none.
pub(super) async fn claim(shared: &Arc<Shared>, claim: &Claim, now: Timestamp) -> Result<Vec<Lease>, Error> {
    let began = Clock::system().steady();
    let waited = || Clock::system().steady().since(began);
    let mut moment = now;
    loop {
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        // From here on, `woken` receives every notification.
        woken.as_mut().enable();
        let (picked, next_event) = {
            let mut state = shared.open_state()?;
            (state.pick(claim, moment), state.next_event())
        };
        if !picked.is_empty() {
            let filled = Taken::new(shared, picked, moment).fill().await;
            let leases = filled.inspect_err(|failure| shared.report_failure(failure))?;
            if !leases.is_empty() {
                return Ok(leases);
            }
        }
        let Some(left) = claim.wait.checked_sub(waited()).filter(|left| !left.is_zero()) else {
            return Ok(Vec::new());
        };
        let pause = next_event.map_or(PAUSE_MAX, |event| event.since(moment).min(PAUSE_MAX)).min(left);
        // The next round checks the queue even without a notification.
        let _ = tokio::time::timeout(pause, woken).await;
        moment = now.after(waited());
    }
}

/// Jobs that were taken and not yet returned to the caller. Dropping it releases them.
struct Taken<'a> {
    shared: &'a Arc<Shared>,
    picked: Vec<Claimed>,
    leases: Vec<Lease>,
    now: Timestamp,
}

impl<'a> Taken<'a> {
    fn new(shared: &'a Arc<Shared>, picked: Vec<Claimed>, now: Timestamp) -> Self {
        Self { shared, picked, leases: Vec::new(), now }
    }

    /// Adds names and payloads, and returns the leases. Leaves out jobs that were cancelled in the meantime.
    async fn fill(mut self) -> Result<Vec<Lease>, Error> {
        let bodies = self.bodies().await?;
        for picked in &self.picked {
            let (key, slot) = picked.address;
            let Some(body) = bodies.get(&key) else {
                let lives =
                    self.shared.state().leases.get(picked.address).is_some_and(|lease| !lease.cancelled);
                if lives {
                    return Err(damaged());
                }
                continue;
            };
            self.leases.push(Lease {
                id: LeaseId { job: body.name(slot)?.into(), fence: picked.fence },
                queue: picked.queue.clone(),
                group: picked.group.clone(),
                payload: body.payload(slot)?,
                attempt: picked.attempt,
                enqueued: picked.enqueued,
                ready: picked.ready,
                until: picked.until,
            });
        }
        self.picked.clear();
        Ok(std::mem::take(&mut self.leases))
    }

    async fn bodies(&self) -> Result<HashMap<u64, Body>, Error> {
        let mut bodies = HashMap::new();
        let mut missing = HashSet::new();
        {
            let cache = self.shared.cache();
            for Claimed { address: (key, _), .. } in &self.picked {
                if bodies.contains_key(key) {
                    continue;
                }
                match cache.get(*key) {
                    Some(body) => _ = bodies.insert(*key, body),
                    None => _ = missing.insert(*key),
                }
            }
        }
        if !missing.is_empty() {
            bodies.extend(read(self.shared, missing.into_iter().collect()).await?);
        }
        Ok(bodies)
    }
}

/// Reads those of the segments from the disk that still exist.
pub(super) async fn read(shared: &Arc<Shared>, keys: Vec<u64>) -> Result<Vec<(u64, Body)>, Error> {
    let shared = Arc::clone(shared);
    let reading = tokio::task::spawn_blocking(move || {
        let found = keys.into_iter().map(|key| Ok(shared.find_body(key)?.map(|body| (key, body))));
        found.filter_map(Result::transpose).collect()
    });
    reading.await.map_err(|error| Error::Storage(error.into()))?
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.picked.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        // In reverse order, because each job is put at the front of its lane.
        for picked in self.picked.iter().rev() {
            state.release(picked.fence, self.now);
        }
        drop(state);
        self.shared.wake.notify_waiters();
    }
}
