//! The stride scheduler. Queues share by weight. A job of a higher priority goes first, unless one of a lower
//! priority has waited much longer. Families of groups take turns, groups of a family take turns, and inside a group
//! the oldest job goes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::rotation::Rotation;
use super::segment::State;
use crate::queue::meter::Meter;
use crate::queue::{Group, QueueName};
use crate::runtime::clock::Timestamp;

/// The additional wait that makes up for one level of priority.
const AGING: Duration = Duration::from_secs(10);
/// The stride of a queue of weight 1.
const STRIDE: u64 = 1 << 20;

/// Consecutive jobs of one segment that were ready when they were added. Some may have been removed since.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue::sled) struct SlotRange {
    pub(in crate::queue::sled) segment: u32,
    /// See [`super::segment::tag_of`].
    pub(in crate::queue::sled) tag: u32,
    pub(in crate::queue::sled) first: u16,
    pub(in crate::queue::sled) count: u16,
    /// The time at which the jobs were enqueued: older jobs go first.
    pub(in crate::queue::sled) since: Timestamp,
    /// The time at which the jobs became ready.
    pub(in crate::queue::sled) ready: Timestamp,
}

/// The jobs of one group, of one priority, in one queue.
#[derive(Debug)]
pub(in crate::queue::sled) struct Lane {
    pub(in crate::queue::sled) queue: u32,
    pub(in crate::queue::sled) priority: i8,
    pub(in crate::queue::sled) group: Group,
    family: Group,
    ready: VecDeque<SlotRange>,
    /// The number of living jobs.
    live: u64,
}

/// A queue and its counts.
#[derive(Debug)]
pub(in crate::queue::sled) struct Queue {
    pub(in crate::queue::sled) name: QueueName,
    pub(in crate::queue::sled) paused: bool,
    /// Counts of jobs that are ready, delayed and leased.
    pub(in crate::queue::sled) counts: [u64; 3],
    pub(in crate::queue::sled) enqueued: Meter,
    pub(in crate::queue::sled) acked: Meter,
    pub(in crate::queue::sled) failed: Meter,
    /// Lanes with ready jobs, by priority.
    priorities: BTreeMap<Reverse<i8>, Rotation>,
    /// The *pass* of stride scheduling: the queue with the smallest pass is next.
    paid: u64,
}

impl Queue {
    fn new(name: QueueName) -> Self {
        Self {
            name,
            paused: false,
            counts: [0; 3],
            enqueued: Meter::default(),
            acked: Meter::default(),
            failed: Meter::default(),
            priorities: BTreeMap::new(),
            paid: 0,
        }
    }

    /// Returns the count of the jobs in a state.
    pub(in crate::queue::sled) fn count_mut(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Ready => Some(&mut self.counts[0]),
            State::Delayed => Some(&mut self.counts[1]),
            State::Held => Some(&mut self.counts[2]),
            State::Gone => None,
        }
    }

    fn has_turn(&self) -> bool {
        !self.paused && self.counts[0] > 0
    }
}

/// All queues and lanes.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct Scheduler {
    queues: Vec<Queue>,
    queues_by_name: HashMap<QueueName, u32>,
    entries: Vec<Option<Lane>>,
    free: Vec<u32>,
    /// The lanes of each group: one for each queue and priority.
    by_group: HashMap<Group, Vec<u32>>,
}

impl Scheduler {
    /// Returns the queue of this name; adds it if there is none.
    pub(in crate::queue::sled) fn queue(&mut self, name: &QueueName) -> u32 {
        if let Some(queue) = self.queues_by_name.get(name) {
            return *queue;
        }
        let queue = u32::try_from(self.queues.len()).expect("there are few queues");
        self.queues.push(Queue::new(name.clone()));
        self.queues_by_name.insert(name.clone(), queue);
        queue
    }

    /// Takes over the meters of the scheduler `before`, which this one replaces.
    pub(in crate::queue::sled) fn keep_meters_of(&mut self, before: &mut Self) {
        for old in before.queues.drain(..) {
            let index = self.queue(&old.name);
            let queue = self.queue_mut(index);
            (queue.enqueued, queue.acked, queue.failed) = (old.enqueued, old.acked, old.failed);
        }
    }

    /// Returns the queue of this name, if there is one.
    pub(in crate::queue::sled) fn find_queue(&self, name: &QueueName) -> Option<u32> {
        self.queues_by_name.get(name).copied()
    }

    pub(in crate::queue::sled) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    pub(in crate::queue::sled) fn queue_mut(&mut self, queue: u32) -> &mut Queue {
        &mut self.queues[queue as usize]
    }

    /// Returns the queue of a lane.
    pub(in crate::queue::sled) fn queue_of(&mut self, lane: u32) -> &mut Queue {
        let queue = self.lane(lane).queue;
        self.queue_mut(queue)
    }

    /// Returns the lane of this queue, priority and group; adds it if there is none.
    pub(in crate::queue::sled) fn find_or_make(&mut self, queue: u32, priority: i8, group: &Group) -> u32 {
        let is_it = |lane: &&u32| (self.lane(**lane).queue, self.lane(**lane).priority) == (queue, priority);
        if let Some(lane) = self.of_group(group).iter().find(is_it) {
            return *lane;
        }
        let (name, family) = (group.clone(), group.family());
        let lane = Lane { queue, priority, group: name, family, ready: VecDeque::new(), live: 0 };
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(lane);
            index
        } else {
            self.entries.push(Some(lane));
            u32::try_from(self.entries.len() - 1).expect("there are fewer lanes than jobs")
        };
        self.by_group.entry(group.clone()).or_default().push(index);
        index
    }

    pub(in crate::queue::sled) fn lane(&self, lane: u32) -> &Lane {
        self.entries[lane as usize].as_ref().expect("runs with living jobs keep their lane")
    }

    fn lane_mut(&mut self, lane: u32) -> &mut Lane {
        self.entries[lane as usize].as_mut().expect("runs with living jobs keep their lane")
    }

    /// Returns a lane, if it exists. The lane of a run without living jobs may have been dropped and its index reused.
    pub(in crate::queue::sled) fn find_lane(&self, lane: u32) -> Option<&Lane> {
        self.entries.get(lane as usize)?.as_ref()
    }

    /// Returns the lanes of a group; an empty list if it has no job.
    pub(in crate::queue::sled) fn of_group(&self, group: &Group) -> &[u32] {
        self.by_group.get(group).map_or(&[], Vec::as_slice)
    }

    /// Adds `jobs` to the count of living jobs: those that are ready, delayed or leased.
    pub(in crate::queue::sled) fn add_live(&mut self, lane: u32, jobs: u64) {
        self.lane_mut(lane).live += jobs;
    }

    /// Subtracts a living job from the count; drops a lane without living jobs.
    pub(in crate::queue::sled) fn drop_live(&mut self, lane: u32) {
        let entry = self.lane_mut(lane);
        entry.live -= 1;
        if entry.live > 0 {
            return;
        }
        let (queue, priority, waits) = (entry.queue, entry.priority, !entry.ready.is_empty());
        let family = entry.family.clone();
        let priorities = &mut self.queues[queue as usize].priorities;
        if waits && let Some(rotation) = priorities.get_mut(&Reverse(priority)) {
            rotation.remove(&family, lane);
            if rotation.is_empty() {
                priorities.remove(&Reverse(priority));
            }
        }
        if let Some(entry) = self.entries[lane as usize].take() {
            self.forget_lane(lane, &entry.group);
            self.free.push(lane);
        }
    }

    fn forget_lane(&mut self, lane: u32, group: &Group) {
        let Some(lanes) = self.by_group.get_mut(group) else { return };
        lanes.retain(|kept| *kept != lane);
        if lanes.is_empty() {
            self.by_group.remove(group);
        }
    }

    /// Puts ready jobs at the end of their lane.
    pub(in crate::queue::sled) fn push_back(&mut self, lane: u32, range: SlotRange) {
        self.line_up(lane);
        self.lane_mut(lane).ready.push_back(range);
    }

    /// Puts ready jobs at the front of their lane.
    pub(in crate::queue::sled) fn push_front(&mut self, lane: u32, range: SlotRange) {
        self.line_up(lane);
        self.lane_mut(lane).ready.push_front(range);
    }

    /// Adds a lane to the rotation, after the others, if it has no ready job yet.
    fn line_up(&mut self, lane: u32) {
        let entry = self.lane(lane);
        if entry.ready.is_empty() {
            let (queue, priority, family) = (entry.queue, Reverse(entry.priority), entry.family.clone());
            self.queues[queue as usize].priorities.entry(priority).or_default().push_back(&family, lane);
        }
    }

    /// Returns the queue that is next among those with ready jobs, and charges it for one job.
    pub(in crate::queue::sled) fn turn(&mut self, shares: &[(u32, u32)]) -> Option<u32> {
        let waiting = |scheduler: &Self, queue: u32| scheduler.queues[queue as usize].has_turn();
        let most = shares
            .iter()
            .filter(|(queue, _)| waiting(self, *queue))
            .map(|(queue, _)| self.queues[*queue as usize].paid)
            .max()?;
        // A queue does not accumulate credit while it has no jobs.
        let least = most.saturating_sub(STRIDE);
        let (queue, weight) = shares
            .iter()
            .filter(|(queue, _)| waiting(self, *queue))
            .min_by_key(|(queue, _)| self.queues[*queue as usize].paid.max(least))?;
        let entry = &mut self.queues[*queue as usize];
        entry.paid = entry.paid.max(least) + (STRIDE / u64::from(*weight)).max(1);
        Some(*queue)
    }

    /// Takes the next job of a queue: the `first` of the returned range. The job may have been removed since it was
    /// added.
    pub(in crate::queue::sled) fn take(&mut self, queue: u32) -> Option<SlotRange> {
        let priority = self.next_priority(queue)?;
        let rotation = self.queues[queue as usize].priorities.get_mut(&priority)?;
        let lane = rotation.pop_front()?;
        let Lane { ready, family, .. } = self.entries[lane as usize].as_mut()?;
        let range = ready.front_mut()?;
        let taken = SlotRange { count: 1, ..*range };
        range.first += 1;
        range.count -= 1;
        if range.count == 0 {
            ready.pop_front();
        }
        if !ready.is_empty() {
            rotation.push_back(family, lane);
        } else if rotation.is_empty() {
            self.queues[queue as usize].priorities.remove(&priority);
        }
        Some(taken)
    }

    /// Returns the priority whose turn it is: the one whose first job is oldest, where each level of priority adds
    /// [`AGING`] to the age.
    fn next_priority(&self, queue: u32) -> Option<Reverse<i8>> {
        let priorities = &self.queues[queue as usize].priorities;
        if priorities.len() == 1 {
            return priorities.keys().next().copied();
        }
        let due = |(Reverse(priority), rotation): (&Reverse<i8>, &Rotation)| {
            let since = self.lane(rotation.front()?).ready.front()?.since;
            let credit = AGING.as_micros() as i64 * i64::from(*priority);
            Some((since.as_micros().saturating_sub(credit), Reverse(*priority)))
        };
        priorities.iter().filter_map(due).min().map(|(_, priority)| priority)
    }

    /// Returns the time at which the oldest ready job of a queue was enqueued.
    pub(in crate::queue::sled) fn oldest(&self, queue: u32) -> Option<Timestamp> {
        let lanes = self.queues[queue as usize].priorities.values().flat_map(Rotation::iter);
        lanes.filter_map(|lane| Some(self.lane(lane).ready.front()?.since)).min()
    }
}
