//! Which queues a crew serves, and how its hands are shared out among them.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::queue::{QueueName, Share};

/// Jobs of one queue in hand at once, at most: more would only wait for each other.
const SLOTS_MAX: u16 = 256;

/// A queue that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    queue: &'static str,
    /// Its part of the hands while other queues have work, too.
    weight: NonZeroU32,
    /// Jobs of it in hand at once.
    slots: u16,
}

/// Every queue there is. Two comparisons more than one keep the cores busy while others are written down. What needs
/// much memory is admitted one by one, so that two slots let a small job pass a large one that waits.
const LANES: [Lane; 4] =
    [lane("ingest", 3, 2), lane("compute", 6, 3), lane("highmemory", 2, 2), lane("maintenance", 1, 1)];

const fn lane(queue: &'static str, weight: u32, slots: u16) -> Lane {
    Lane { queue, weight: NonZeroU32::new(weight).expect("no queue is without weight"), slots }
}

/// The queues that a crew serves. Written as `ingest=2,compute=3`, the number being how many jobs of the queue are in
/// hand at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster(Vec<Lane>);

impl Roster {
    /// Jobs in hand at once, of all queues.
    pub fn slots(&self) -> usize {
        self.0.iter().map(|lane| usize::from(lane.slots)).sum()
    }

    /// Jobs in hand at once of this queue.
    pub fn slots_of(&self, queue: &str) -> usize {
        self.0.iter().filter(|lane| lane.queue == queue).map(|lane| usize::from(lane.slots)).sum()
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self(LANES.to_vec())
    }
}

impl FromStr for Roster {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut lanes: Vec<Lane> = Vec::new();
        for word in text.split(',').map(str::trim) {
            let (name, slots) =
                word.split_once('=').map_or((word, None), |(name, slots)| (name, Some(slots)));
            let mut lane = *LANES.iter().find(|lane| lane.queue == name.trim()).ok_or(())?;
            if let Some(slots) = slots {
                lane.slots = slots.trim().parse().map_err(|_| ())?;
            }
            let doubled = lanes.iter().any(|other| other.queue == lane.queue);
            if doubled || !(1..=SLOTS_MAX).contains(&lane.slots) {
                return Err(());
            }
            lanes.push(lane);
        }
        Ok(Self(lanes))
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lane) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", lane.queue, lane.slots)?;
        }
        Ok(())
    }
}

impl Serialize for Roster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hands of a crew: at most so many jobs of each queue, and one less than all of these together, so that the
/// queues' weights decide who gets the next one.
#[derive(Debug)]
pub(super) struct Hands {
    lanes: Vec<Lane>,
    count: usize,
    busy: Mutex<HashMap<&'static str, usize>>,
    freed: Notify,
}

/// A hand that is busy with a job, until it is dropped.
#[derive(Debug)]
pub(super) struct Hand {
    hands: Arc<Hands>,
    queue: &'static str,
}

/// What a free hand may do.
pub(super) struct Turn<'a> {
    /// The queues that it may serve.
    pub(super) shares: Vec<Share>,
    /// Whether a queue is not among them, because all its slots are taken.
    pub(super) left_out: bool,
    /// Hears of the next hand that is freed.
    pub(super) freed: Pin<Box<Notified<'a>>>,
}

impl Hands {
    pub(super) fn new(roster: Roster) -> Arc<Self> {
        let count = roster.slots().saturating_sub(1).max(1);
        Arc::new(Self { lanes: roster.0, count, busy: Mutex::default(), freed: Notify::new() })
    }

    /// Waits for a free hand, and says what it may do.
    pub(super) async fn turn(&self) -> Turn<'_> {
        loop {
            // Asked for before the look, so that no hand that is freed after it is missed.
            let mut freed = Box::pin(self.freed.notified());
            freed.as_mut().enable();
            if let Some(shares) = self.open() {
                return Turn { left_out: shares.len() < self.lanes.len(), shares, freed };
            }
            freed.await;
        }
    }

    /// The queues that a hand may serve, if one is free.
    fn open(&self) -> Option<Vec<Share>> {
        let busy = self.lock();
        if busy.values().sum::<usize>() >= self.count {
            return None;
        }
        let open = |lane: &&Lane| busy.get(lane.queue).copied().unwrap_or(0) < usize::from(lane.slots);
        let share = |lane: &Lane| Share { queue: lane.queue.into(), weight: lane.weight };
        let shares: Vec<Share> = self.lanes.iter().filter(open).map(share).collect();
        (!shares.is_empty()).then_some(shares)
    }

    /// A hand for a job of this queue; none, if no such job was asked for.
    pub(super) fn take(self: &Arc<Self>, queue: &QueueName) -> Option<Hand> {
        let lane = self.lanes.iter().find(|lane| lane.queue == queue.as_str())?;
        let mut busy = self.lock();
        let all = busy.values().sum::<usize>();
        let taken = busy.entry(lane.queue).or_default();
        if *taken >= usize::from(lane.slots) || all >= self.count {
            return None;
        }
        *taken += 1;
        Some(Hand { hands: Arc::clone(self), queue: lane.queue })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(taken) = self.hands.lock().get_mut(self.queue) {
            *taken -= 1;
        }
        self.hands.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_is_read_as_it_is_written() {
        let all = Roster::default();
        assert_eq!(all.to_string(), "ingest=2,compute=3,highmemory=2,maintenance=1");
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!("highmemory".parse::<Roster>().unwrap().to_string(), "highmemory=2");
        for wrong in ["", "lunch", "compute=0", "compute=257", "compute=x", "compute,compute", "compute,"] {
            assert_eq!(wrong.parse::<Roster>(), Err(()), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_queue_with_all_its_slots_taken_is_left_out() {
        let hands = Hands::new("compute=1,ingest=2".parse().unwrap());
        let turn = hands.turn().await;
        assert_eq!((turn.shares.len(), turn.left_out), (2, false));
        let compute = hands.take(&"compute".into()).unwrap();
        assert!(hands.take(&"compute".into()).is_none() && hands.take(&"maintenance".into()).is_none());
        let turn = hands.turn().await;
        assert_eq!((turn.shares[0].queue.as_str(), turn.left_out), ("ingest", true));
        let _ingest = hands.take(&"ingest".into()).unwrap();
        assert!(hands.open().is_none(), "there are two hands");
        drop(compute);
        turn.freed.await;
        assert!(hands.open().is_some());
    }
}
