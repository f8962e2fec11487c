//! Dead letters, in memory without their payloads.

use std::collections::{BTreeMap, HashMap};

use crate::queue::{DeadLetter, DeadQuery, Group, JobId, QueueName};

/// All dead letters, in the order in which they were added.
#[derive(Debug, Default)]
pub(in crate::queue::sled) struct DeadLetters {
    letters: BTreeMap<u64, DeadLetter>,
    by_job: HashMap<JobId, u64>,
    by_queue: HashMap<QueueName, u64>,
}

impl DeadLetters {
    pub(in crate::queue::sled) fn insert(&mut self, letter: DeadLetter) {
        *self.by_queue.entry(letter.queue.clone()).or_default() += 1;
        self.by_job.insert(letter.job.clone(), letter.sequence);
        self.letters.insert(letter.sequence, letter);
    }

    /// Removes a dead letter.
    pub(in crate::queue::sled) fn remove(&mut self, sequence: u64) {
        if let Some(letter) = self.letters.remove(&sequence) {
            self.by_job.remove(&letter.job);
            if let Some(letters) = self.by_queue.get_mut(&letter.queue) {
                *letters -= 1;
            }
        }
    }

    pub(in crate::queue::sled) fn contains(&self, job: &JobId) -> bool {
        self.by_job.contains_key(job)
    }

    /// Returns the sequence numbers of those of the jobs that are dead letters, each once.
    pub(in crate::queue::sled) fn find(&self, jobs: &[JobId]) -> Vec<u64> {
        let mut found: Vec<u64> = jobs.iter().filter_map(|job| self.by_job.get(job).copied()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the sequence numbers of the dead letters of a group.
    pub(in crate::queue::sled) fn of_group(&self, group: &Group) -> Vec<u64> {
        self.letters.values().filter(|letter| letter.group == *group).map(|letter| letter.sequence).collect()
    }

    /// Returns the number of dead letters of a queue.
    pub(in crate::queue::sled) fn count(&self, queue: &QueueName) -> u64 {
        self.by_queue.get(queue).copied().unwrap_or_default()
    }

    pub(in crate::queue::sled) fn list(&self, query: &DeadQuery) -> Vec<DeadLetter> {
        let wanted = |letter: &&DeadLetter| {
            query.queue.as_ref().is_none_or(|queue| *queue == letter.queue)
                && query.group.as_ref().is_none_or(|group| *group == letter.group)
        };
        let later = self.letters.range(query.after.saturating_add(1)..);
        later.map(|(_, letter)| letter).filter(wanted).take(query.count).cloned().collect()
    }
}
