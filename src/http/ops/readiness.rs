//! The readiness of the server for requests, and the tick that proves that the process is not stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Stopwatch;

/// The interval of the tick.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// The time without a tick after which the process counts as stuck.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The phase of a server from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// The stores are being opened.
    Starting,
    /// The database is being opened, and upgraded if it is of an older version.
    Migrating,
    /// The server accepts requests.
    Serving,
    /// The server finishes its work and accepts no new work.
    Draining,
}

/// The readiness of the server. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: AtomicU8,
    since_start: Stopwatch,
    /// The time of the last tick, in milliseconds after the start.
    ticked_ms: AtomicU64,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Inner {
            phase: AtomicU8::new(Phase::Starting as u8),
            since_start: Stopwatch::start(),
            ticked_ms: AtomicU64::new(0),
        }))
    }
}

impl Readiness {
    /// Enters a phase. The server never returns to an earlier one.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// Returns the current phase.
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Migrating,
            2 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Records a tick.
    pub(super) fn tick(&self) {
        self.0.ticked_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Returns true if the process has ticked recently.
    pub(super) fn is_alive(&self) -> bool {
        let silent_ms = self.now_ms().saturating_sub(self.0.ticked_ms.load(Ordering::Relaxed));
        Duration::from_millis(silent_ms) < SILENCE_MAX
    }

    fn now_ms(&self) -> u64 {
        self.0.since_start.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_way_back() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), Phase::Starting);
        for (entered, phase) in [
            (Phase::Migrating, Phase::Migrating),
            (Phase::Draining, Phase::Draining),
            (Phase::Serving, Phase::Draining),
        ] {
            readiness.enter(entered);
            assert_eq!(readiness.phase(), phase);
        }
        assert!(readiness.is_alive());
    }
}
