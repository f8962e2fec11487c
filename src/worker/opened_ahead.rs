//! Opens many objects in order, several at once.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// The results of `open` for the numbers below `count`, in order. An object of a remote store takes a round trip to open,
/// so that a hundred thousand of them, one after the other, would take longer than what follows.
pub(super) struct OpenedAhead<T, F> {
    open: F,
    next: u32,
    count: u32,
    at_once: usize,
    opened: VecDeque<T>,
}

impl<T: Send, F: Fn(u32) -> T + Sync> OpenedAhead<T, F> {
    /// Opens nothing yet. `at_once` calls of `open` are made at the same time; with 1, by the caller's thread.
    pub(super) const fn new(count: u32, at_once: usize, open: F) -> Self {
        Self { open, next: 0, count, at_once, opened: VecDeque::new() }
    }

    fn open_more(&mut self) {
        let numbers = self.next..self.count.min(self.next.saturating_add(self.at_once as u32));
        self.next = numbers.end;
        let open = &self.open;
        if self.at_once <= 1 {
            self.opened.extend(numbers.map(open));
            return;
        }
        thread::scope(|scope| {
            let threads: Vec<_> = numbers
                .map(|number| (number, Builder::new().spawn_scoped(scope, move || open(number))))
                .collect();
            for (number, thread) in threads {
                self.opened.push_back(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    // There are too many threads already.
                    Err(_) => open(number),
                });
            }
        });
    }
}

impl<T: Send, F: Fn(u32) -> T + Sync> Iterator for OpenedAhead<T, F> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.opened.is_empty() {
            self.open_more();
        }
        self.opened.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn several_are_opened_at_once_and_come_in_order() {
        let (together, opened) = (Barrier::new(4), AtomicU32::new(0));
        let mut all = OpenedAhead::new(12, 4, |number| {
            // Passes only if four calls are under way.
            together.wait();
            opened.fetch_add(1, Ordering::Relaxed);
            number
        });
        assert_eq!(all.next(), Some(0));
        assert_eq!(opened.load(Ordering::Relaxed), 4, "no more are opened than may be");
        assert_eq!(all.collect::<Vec<_>>(), (1..12).collect::<Vec<_>>());
    }

    #[test]
    fn one_at_a_time_is_opened_when_it_is_needed() {
        let opened = AtomicU32::new(0);
        let mut all = OpenedAhead::new(3, 1, |number| {
            opened.fetch_add(1, Ordering::Relaxed);
            number
        });
        assert_eq!((all.next(), opened.load(Ordering::Relaxed)), (Some(0), 1));
        assert_eq!(all.by_ref().count(), 2);
        assert_eq!((all.next(), OpenedAhead::new(0, 4, |number| number).next()), (None, None));
    }
}
