//! The retention clock: the time that the server has seen pass.
//!
//! While the process runs, the clock advances with the steady clock, so setting the wall clock has no effect. The
//! downtime between two processes is known from the wall clock alone. It is measured again and again while the process
//! runs, and the smallest result counts, up to a week. It is added gradually, once the process has run for an hour. So
//! a wall clock that is wrong for a while does not age any project, and a server that is off at night or over a weekend
//! catches up within a few hours. The wall clock is stored as correct only after it has run for an hour without being
//! set.
//!
//! The times of this clock are only compared with each other. When it was first started, it agreed with the wall clock.

use std::time::Duration;

use super::{Coordinator, Error};
use crate::metadata::Mark;
use crate::runtime::clock::Timestamp;

/// The longest downtime that is counted.
const DOWNTIME_MAX: Duration = Duration::from_hours(7 * 24);
/// The time for which a process must have run before the downtime before it counts.
const TRUSTED_AFTER: Duration = Duration::from_hours(1);
/// After that time, this many hours of downtime are added in each hour.
const CATCH_UP: u32 = 8;
/// The period at which the mark is stored.
const KEEP_EVERY: Duration = Duration::from_mins(5);
/// The smallest step of the wall clock that is logged.
const STEP_MIN: Duration = Duration::from_mins(5);
/// The earliest plausible time: a wall clock before 2026-01-01 was never set.
const SET_SINCE: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The retention clock, resumed from a mark.
#[derive(Debug)]
pub(super) struct RetentionClock {
    mark: Mark,
    /// The time at which the mark was read, by the steady clock.
    began: Timestamp,
    /// The smallest downtime that the wall clock has shown.
    downtime: Option<Duration>,
    /// Wall clock and steady clock at the last reading.
    latest: (Timestamp, Timestamp),
    /// Wall clock and steady clock at the latest reading for which the wall clock had run for an hour without a step.
    /// Until there is such a reading, the wall clock is the one in the mark and the steady clock is the one at the
    /// start, as if the server had never been off.
    trusted: (Timestamp, Timestamp),
    /// The time at which the wall clock was last set, or the process began, by the steady clock.
    stepped: Timestamp,
    /// The time at which the mark was stored last, by the steady clock.
    kept: Option<Timestamp>,
}

/// The bounds of the reading. The true time is between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The earliest possible time. It decides whether a project is old enough.
    pub(super) surely: Timestamp,
    /// The latest possible time. The age of a run counts from this.
    pub(super) perhaps: Timestamp,
}

impl RetentionClock {
    /// Resumes from `mark`. Without one, starts at the latest time in the metadata, so that no project has aged more than the
    /// wall clock says.
    pub(super) fn resume(
        mark: Option<Mark>,
        latest: Option<Timestamp>,
        (wall, steady): (Timestamp, Timestamp),
    ) -> Self {
        let mark = mark.unwrap_or_else(|| {
            let known = latest.unwrap_or(wall);
            let passed = if wall < SET_SINCE { known } else { known.min(wall) };
            Mark { passed, wall: passed }
        });
        let mut clock = Self {
            mark,
            began: steady,
            downtime: None,
            latest: (wall, steady),
            trusted: (mark.wall, steady),
            stepped: steady,
            kept: None,
        };
        clock.look(wall, steady);
        if let Some(down) = clock.downtime.filter(|down| *down > DOWNTIME_MAX) {
            tracing::warn!(
                down_h = down.as_secs() / 3_600,
                "according to the system clock, the server was off for more than a week; retention counts one week of it. Check the clock"
            );
        }
        clock
    }

    /// Updates the clock from the wall clock and the steady clock.
    pub(super) fn look(&mut self, wall: Timestamp, steady: Timestamp) {
        if wall >= SET_SINCE && self.mark.wall >= SET_SINCE {
            let downtime = wall.before(self.ran(steady)).since(self.mark.wall);
            self.downtime = Some(self.downtime.map_or(downtime, |least| least.min(downtime)));
        }
        self.look_for_step(wall, steady);
        self.latest = (wall, steady);
        if steady.since(self.stepped) >= TRUSTED_AFTER {
            self.trusted = self.latest;
        }
    }

    fn look_for_step(&mut self, wall: Timestamp, steady: Timestamp) {
        let (before, then) = self.latest;
        let expected = before.after(steady.since(then));
        let (ahead, back) = (wall.since(expected), expected.since(wall));
        let step = ahead.max(back);
        if step < STEP_MIN {
            return;
        }
        self.stepped = steady;
        let (seconds, direction) = (step.as_secs(), if ahead > back { "ahead" } else { "back" });
        tracing::warn!(
            seconds,
            "the system clock was set {direction} while the server ran; retention does not follow it. Check the clock"
        );
    }

    fn ran(&self, steady: Timestamp) -> Duration {
        steady.since(self.began)
    }

    /// Returns the current reading.
    pub(super) fn read(&self, steady: Timestamp) -> Reading {
        let ran = self.ran(steady);
        let downtime = self.downtime.unwrap_or_default().min(DOWNTIME_MAX);
        let trusted = ran.saturating_sub(TRUSTED_AFTER).saturating_mul(CATCH_UP);
        let passed = self.mark.passed.after(ran);
        Reading { surely: passed.after(downtime.min(trusted)), perhaps: passed.after(downtime) }
    }

    /// Returns the mark to store, if one is due.
    fn due(&mut self, steady: Timestamp) -> Option<Mark> {
        if self.kept.is_some_and(|kept| steady.since(kept) < KEEP_EVERY) {
            return None;
        }
        self.kept = Some(steady);
        let (wall, then) = self.trusted;
        Some(Mark { passed: self.read(steady).surely, wall: wall.after(steady.since(then)) })
    }
}

impl Coordinator {
    /// Returns the current reading of the retention clock.
    pub(super) async fn retention_clock(&self) -> Result<Reading, Error> {
        self.with_retention_clock(|clock, steady| clock.read(steady)).await
    }

    /// Stores the reading of the retention clock every few minutes.
    pub(super) async fn keep_mark(&self) -> Result<(), Error> {
        match self.with_retention_clock(RetentionClock::due).await? {
            Some(mark) => Ok(self.0.store.keep_mark(mark).await?),
            None => Ok(()),
        }
    }

    async fn with_retention_clock<T>(
        &self,
        ask: impl FnOnce(&mut RetentionClock, Timestamp) -> T,
    ) -> Result<T, Error> {
        let mut kept = self.0.retention.lock().await;
        let (wall, steady) = (self.0.clock.now(), self.0.clock.steady());
        if kept.is_none() {
            let (mark, latest) = (self.0.store.mark().await?, self.0.store.latest().await?);
            *kept = Some(RetentionClock::resume(mark, latest, (wall, steady)));
        }
        let clock = kept.as_mut().expect("it was just read");
        clock.look(wall, steady);
        Ok(ask(clock, steady))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::Clock;

    const DAY: Duration = Duration::from_hours(24);
    const YEAR: Duration = Duration::from_hours(365 * 24);

    fn noon() -> Timestamp {
        SET_SINCE.after(300 * DAY)
    }

    /// A server with its clocks.
    struct Server {
        clock: Clock,
        retention: RetentionClock,
    }

    impl Server {
        fn start(mark: Option<Mark>, wall: Timestamp) -> Self {
            let clock = Clock::manual(wall);
            let retention = RetentionClock::resume(mark, None, (clock.now(), clock.steady()));
            Self { clock, retention }
        }

        fn look(&mut self) -> Reading {
            self.retention.look(self.clock.now(), self.clock.steady());
            self.retention.read(self.clock.steady())
        }

        fn run(&mut self, time: Duration) -> Reading {
            self.clock.advance(time);
            self.look()
        }

        fn set(&mut self, wall: Timestamp) -> Reading {
            self.clock.set(wall);
            self.look()
        }

        fn mark(&mut self) -> Mark {
            self.look();
            self.retention.kept = None;
            self.retention.due(self.clock.steady()).unwrap()
        }
    }

    #[test]
    fn time_that_passes_while_the_server_runs_counts_in_full() {
        let mut server = Server::start(None, noon());
        let passed = noon().after(40 * DAY);
        assert_eq!(server.run(40 * DAY), Reading { surely: passed, perhaps: passed });
    }

    #[test]
    fn a_clock_that_is_set_while_the_server_runs_lets_nothing_age() {
        let mut server = Server::start(None, noon());
        for wall in [noon().after(YEAR), Timestamp::from_micros(0), noon().before(YEAR), noon()] {
            server.set(wall);
            let before = server.look();
            assert_eq!(server.run(4 * DAY).surely, before.surely.after(4 * DAY), "{wall}");
        }
        let mark = Mark { passed: noon().after(16 * DAY), wall: noon().after(4 * DAY) };
        assert_eq!(server.mark(), mark);
        server.set(noon().before(YEAR));
        assert_eq!(server.mark(), mark, "the wall clock was set a moment ago");
    }

    #[test]
    fn a_clock_that_is_wrong_at_a_start_lets_nothing_age_while_it_is() {
        let mark = Server::start(None, noon()).mark();
        for wall in [noon().after(YEAR), Timestamp::from_micros(0), noon().before(YEAR)] {
            let mut wrong = Server::start(Some(mark), wall);
            let minute = Duration::from_mins(1);
            assert_eq!(wrong.run(minute).surely, noon().after(minute), "{wall}");
            // The wall clock is corrected while the server runs, or between two starts.
            let ran = DAY + minute;
            wrong.set(noon().after(minute));
            assert_eq!(wrong.run(DAY), Reading { surely: noon().after(ran), perhaps: noon().after(ran) });
            let mark = Server::start(Some(mark), wall).mark();
            let mut right = Server::start(Some(mark), noon());
            assert!(right.run(DAY).surely <= noon().after(DAY), "{wall}");
        }
    }

    #[test]
    fn a_weekend_counts_after_a_few_hours_and_nothing_ages_faster_than_time() {
        let mark = Server::start(None, noon()).mark();
        let weekend = Duration::from_hours(64);
        let mut server = Server::start(Some(mark), noon().after(weekend));
        let began = server.look();
        assert_eq!(began, Reading { surely: noon(), perhaps: noon().after(weekend) });
        for hour in 1..=9 {
            let hours = hour * Duration::from_hours(1);
            let reading = server.run(Duration::from_hours(1));
            assert_eq!(reading.surely, noon().after(hours + (hour - 1) * Duration::from_hours(8)));
            assert!(reading.surely <= began.perhaps.after(hours));
        }
        assert_eq!(server.look().surely, noon().after(weekend + Duration::from_hours(9)));
    }

    #[test]
    fn at_most_a_week_of_downtime_counts_for_retention() {
        let mark = Server::start(None, noon()).mark();
        let mut server = Server::start(Some(mark), noon().after(YEAR));
        assert_eq!(server.run(10 * DAY).surely, noon().after(17 * DAY));
    }

    #[test]
    fn without_a_mark_it_goes_on_from_the_latest_moment_that_is_known() {
        let resumed =
            |wall: Timestamp| RetentionClock::resume(None, Some(noon()), (wall, wall)).read(wall).surely;
        assert_eq!(resumed(noon().after(YEAR)), noon());
        assert_eq!(resumed(noon().before(DAY)), noon().before(DAY));
        assert_eq!(resumed(Timestamp::default()), noon());
    }
}
