//! Limits the concurrent jobs of a worker, and divides them between its queues.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::queue::{QueueName, Share};

/// The maximum number of concurrent jobs of one queue: more would only wait for each other.
const SLOTS_MAX: u16 = 256;

/// A queue that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ServedQueue {
    name: &'static str,
    /// The queue's share of the slots while other queues have jobs, too.
    weight: NonZeroU32,
    /// The number of concurrent jobs of the queue.
    slots: u16,
}

/// All queues, with weight and slots. With three slots for comparisons, the cores stay busy while results are written.
/// With two slots for jobs that need much memory, a small job can overtake a large one that waits for admission.
const QUEUES: [ServedQueue; 4] =
    [queue("ingest", 3, 2), queue("compute", 6, 3), queue("highmemory", 2, 2), queue("maintenance", 1, 1)];

const fn queue(name: &'static str, weight: u32, slots: u16) -> ServedQueue {
    ServedQueue { name, weight: NonZeroU32::new(weight).expect("no queue is without weight"), slots }
}

/// Returns the weight of a queue; `None` if there is no such queue.
pub fn weight_of(queue: &str) -> Option<NonZeroU32> {
    QUEUES.iter().find(|served| served.name == queue).map(|served| served.weight)
}

/// The queues that a worker serves, with the maximum number of concurrent jobs of each. The text form is
/// `ingest=2,compute=3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSlots(Vec<ServedQueue>);

impl QueueSlots {
    /// Returns the sum of the slots of all queues.
    pub fn slots(&self) -> usize {
        self.0.iter().map(|queue| usize::from(queue.slots)).sum()
    }

    /// Returns only the queues for which `serves` returns true; `None` if there are none.
    #[must_use]
    pub fn only(&self, serves: impl Fn(&str) -> bool) -> Option<Self> {
        let queues: Vec<_> = self.0.iter().filter(|queue| serves(queue.name)).copied().collect();
        (!queues.is_empty()).then_some(Self(queues))
    }

    /// Returns the number of concurrent jobs of `queue`.
    pub fn slots_of(&self, queue: &str) -> usize {
        self.0.iter().filter(|served| served.name == queue).map(|queue| usize::from(queue.slots)).sum()
    }
}

impl Default for QueueSlots {
    fn default() -> Self {
        Self(QUEUES.to_vec())
    }
}

impl FromStr for QueueSlots {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut queues: Vec<ServedQueue> = Vec::new();
        for word in text.split(',').map(str::trim) {
            let (name, slots) =
                word.split_once('=').map_or((word, None), |(name, slots)| (name, Some(slots)));
            let mut queue = *QUEUES.iter().find(|queue| queue.name == name.trim()).ok_or(())?;
            if let Some(slots) = slots {
                queue.slots = slots.trim().parse().map_err(|_| ())?;
            }
            let doubled = queues.iter().any(|other| other.name == queue.name);
            if doubled || !(1..=SLOTS_MAX).contains(&queue.slots) {
                return Err(());
            }
            queues.push(queue);
        }
        Ok(Self(queues))
    }
}

impl fmt::Display for QueueSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, queue) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", queue.name, queue.slots)?;
        }
        Ok(())
    }
}

impl Serialize for QueueSlots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The slots of a worker: a limit for each queue, and a total that is one less than the sum of these limits, so that
/// the weights decide which queue gets the next slot.
#[derive(Debug)]
pub(super) struct SlotPool {
    queues: Vec<ServedQueue>,
    count: usize,
    busy: Mutex<HashMap<&'static str, usize>>,
    freed: Notify,
}

/// A slot in use. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct SlotPermit {
    pool: Arc<SlotPool>,
    queue: &'static str,
}

/// A free slot, and the queues that may use it.
pub(super) struct FreeSlot<'a> {
    /// The queues that the slot may serve.
    pub(super) shares: Vec<Share>,
    /// The number of jobs for which there are slots, whichever of these queues they come from; at least one.
    pub(super) count: usize,
    /// True if a queue is not in `shares` because all its slots are in use.
    pub(super) left_out: bool,
    /// Notifies of the next slot that becomes free.
    pub(super) freed: Pin<Box<Notified<'a>>>,
}

impl SlotPool {
    pub(super) fn new(queue_slots: QueueSlots) -> Arc<Self> {
        let count = queue_slots.slots().saturating_sub(1).max(1);
        Arc::new(Self { queues: queue_slots.0, count, busy: Mutex::default(), freed: Notify::new() })
    }

    /// Waits for a free slot, and returns the queues that may use it.
    pub(super) async fn free_slot(&self) -> FreeSlot<'_> {
        loop {
            // Subscribes before the check, so that a slot that is freed later is not missed.
            let mut freed = Box::pin(self.freed.notified());
            freed.as_mut().enable();
            if let Some((shares, count)) = self.free_queues() {
                return FreeSlot { left_out: shares.len() < self.queues.len(), shares, count, freed };
            }
            freed.await;
        }
    }

    /// Returns the queues with free slots, and the number of jobs for which there are slots whichever of these queues
    /// they come from.
    fn free_queues(&self) -> Option<(Vec<Share>, usize)> {
        let busy = self.busy.lock();
        let mut count = self.count.checked_sub(busy.values().sum()).filter(|free| *free > 0)?;
        let mut shares = Vec::new();
        for queue in &self.queues {
            let free = usize::from(queue.slots).saturating_sub(busy.get(queue.name).copied().unwrap_or(0));
            if free > 0 {
                count = count.min(free);
                shares.push(Share { queue: queue.name.into(), weight: queue.weight });
            }
        }
        (!shares.is_empty()).then_some((shares, count))
    }

    /// Returns a slot for a job of this queue; `None` if none is free.
    pub(super) fn take(self: &Arc<Self>, queue: &QueueName) -> Option<SlotPermit> {
        let queue = self.queues.iter().find(|served| served.name == queue.as_str())?;
        let mut busy = self.busy.lock();
        let all = busy.values().sum::<usize>();
        let taken = busy.entry(queue.name).or_default();
        if *taken >= usize::from(queue.slots) || all >= self.count {
            return None;
        }
        *taken += 1;
        Some(SlotPermit { pool: Arc::clone(self), queue: queue.name })
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        if let Some(taken) = self.pool.busy.lock().get_mut(self.queue) {
            *taken -= 1;
        }
        self.pool.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_weights_are_read_as_it_is_written() {
        let all = QueueSlots::default();
        assert_eq!(all.to_string(), "ingest=2,compute=3,highmemory=2,maintenance=1");
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!("highmemory".parse::<QueueSlots>().unwrap().to_string(), "highmemory=2");
        for wrong in ["", "lunch", "compute=0", "compute=257", "compute=x", "compute,compute", "compute,"] {
            assert_eq!(wrong.parse::<QueueSlots>(), Err(()), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_queue_with_all_its_slots_taken_is_left_out() {
        let pool = SlotPool::new("compute=1,ingest=2".parse().unwrap());
        let free = pool.free_slot().await;
        assert_eq!((free.shares.len(), free.left_out), (2, false));
        let compute = pool.take(&"compute".into()).unwrap();
        assert!(pool.take(&"compute".into()).is_none() && pool.take(&"maintenance".into()).is_none());
        let free = pool.free_slot().await;
        assert_eq!((free.shares[0].queue.as_str(), free.left_out), ("ingest", true));
        let _ingest = pool.take(&"ingest".into()).unwrap();
        assert!(pool.free_queues().is_none(), "there are two permits");
        drop(compute);
        free.freed.await;
        assert!(pool.free_queues().is_some());
    }
}
