//! A cache of segments whose jobs will be claimed soon.

use std::collections::{HashMap, VecDeque};

use super::layout::Body;

/// The cached bodies of segments. The oldest entry is evicted first.
#[derive(Debug)]
pub(in crate::queue::sled) struct Cache {
    bodies: HashMap<u64, Body>,
    order: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(in crate::queue::sled) fn new(bytes_max: usize) -> Self {
        Self { bodies: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(in crate::queue::sled) fn get(&self, segment: u64) -> Option<Body> {
        self.bodies.get(&segment).cloned()
    }

    /// Caches a segment that was read, and evicts older ones if necessary.
    pub(in crate::queue::sled) fn insert(&mut self, segment: u64, body: Body) {
        self.bytes += body.as_bytes().len();
        if let Some(before) = self.bodies.insert(segment, body) {
            self.bytes -= before.as_bytes().len();
        } else {
            self.order.push_back(segment);
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.drop_body(oldest);
        }
    }

    /// Caches a segment that was written, if there is room. Evicts none: older jobs are needed earlier.
    pub(in crate::queue::sled) fn offer(&mut self, segment: u64, body: Body) {
        if self.bytes + body.as_bytes().len() <= self.bytes_max {
            self.insert(segment, body);
        }
    }

    /// Drops a segment that will not be needed again.
    pub(in crate::queue::sled) fn remove(&mut self, segment: u64) {
        self.drop_body(segment);
        // The order may contain segments that were removed. They leave it at its front, or here if they are many.
        if self.order.len() > 2 * self.bodies.len() + 64 {
            self.order.retain(|segment| self.bodies.contains_key(segment));
        }
    }

    fn drop_body(&mut self, segment: u64) {
        if let Some(body) = self.bodies.remove(&segment) {
            self.bytes -= body.as_bytes().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::NewJob;

    #[test]
    fn no_more_is_kept_than_allowed() {
        let body = Body::of([NewJob::new("j", "q", "g", vec![0; 89])].iter());
        assert_eq!(body.as_bytes().len(), 100);
        let mut cache = Cache::new(250);
        for segment in 0..1_000 {
            cache.insert(segment, body.clone());
        }
        cache.offer(1_000, body);
        let kept: Vec<_> = (0..=1_000).filter(|segment| cache.get(*segment).is_some()).collect();
        assert_eq!(kept, [998, 999]);
        cache.remove(998);
        assert_eq!(cache.bytes, 100);
    }
}
