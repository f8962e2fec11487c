//! Time: the wall clock for people, a steady clock for the queue and for retention, and a stopwatch for durations.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the moment `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the moment `wait` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(micros(wait)))
    }

    /// Returns the moment `wait` earlier; saturates at the beginning of time.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(micros(wait)))
    }

    /// Rounds down to a whole second.
    #[must_use]
    pub const fn whole_seconds(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1_000_000))
    }

    /// Returns the moment in the short form that signatures use: `20261122T204141Z`.
    pub fn compact(self) -> String {
        let seconds = self.whole_seconds().to_string();
        seconds.chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect()
    }

    /// Returns the time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Formats the moment in ISO 8601, in UTC without a zone suffix. Omits the microseconds if they are zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The time of a clock or a file may be beyond the range of dates.
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let nearest = if self.0 < 0 { first } else { last };
        let moment = jiff::Timestamp::from_microsecond(self.0).unwrap_or(nearest);
        let civil = moment.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let (date, time) = (civil.date(), civil.time());
        write!(f, "{date}T{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
        match time.subsec_nanosecond() / 1_000 {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}

/// A source of time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    steady: AtomicI64,
    /// The microseconds by which the wall clock is ahead of the steady clock.
    ahead: AtomicI64,
}

impl Clock {
    /// Returns the machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Manual { steady: AtomicI64::new(start.0), ahead: AtomicI64::new(0) })))
    }

    /// Returns the wall-clock time, for people and for values that other machines check. It jumps when the clock is
    /// set.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => wall(),
            Source::Manual(manual) => {
                let (steady, ahead) = (&manual.steady, &manual.ahead);
                Timestamp(steady.load(Ordering::SeqCst).saturating_add(ahead.load(Ordering::SeqCst)))
            }
        }
    }

    /// Returns the time by a clock that never jumps, for durations and deadlines: the wall-clock time of the first
    /// call, plus the time since then, including a suspension of the machine.
    pub fn steady(&self) -> Timestamp {
        static START: OnceLock<(Timestamp, Duration)> = OnceLock::new();
        match &self.0 {
            Source::System => {
                let (start, booted) = *START.get_or_init(|| (wall(), since_boot()));
                start.after(since_boot().saturating_sub(booted))
            }
            Source::Manual(manual) => Timestamp(manual.steady.load(Ordering::SeqCst)),
        }
    }

    /// Advances a manual clock; has no effect on the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.steady.fetch_add(micros(by), Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock to `now`, as an operator or a time service does. No time passes.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(manual) = &self.0 {
            let ahead = now.0.saturating_sub(manual.steady.load(Ordering::SeqCst));
            manual.ahead.store(ahead, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().after(since)
}

/// Returns the time since boot, including suspension.
fn since_boot() -> Duration {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(since.tv_sec.cast_unsigned(), since.tv_nsec as u32)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Measures a duration, without suspension of the machine. Monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since [`Stopwatch::start`].
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Returns the seconds since [`Stopwatch::start`].
    pub fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_no_zone_and_hide_zero_microseconds() {
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00");
        assert_eq!(Timestamp::from_micros(1_795_336_801_241_700).compact(), "20261122T084001Z");
        assert_eq!(Timestamp::from_micros(1_795_336_801_241_700).to_string(), "2026-11-22T08:40:01.241700");
    }

    #[test]
    fn a_time_beyond_the_calendar_prints_its_end() {
        assert!(Timestamp::from_micros(i64::MAX).to_string().starts_with("9999-12-30T"));
        assert!(Timestamp::from_micros(i64::MIN).to_string().starts_with('-'));
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = Clock::manual(Timestamp::from_micros(5));
        clock.advance(Duration::from_micros(7));
        assert_eq!(clock.now(), Timestamp::from_micros(12));
        assert_eq!(Timestamp::from_micros(3).since(Timestamp::from_micros(9)), Duration::ZERO);
    }

    #[test]
    fn a_step_of_the_wall_clock_is_no_time() {
        let clock = Clock::manual(Timestamp::from_micros(50));
        clock.set(Timestamp::from_micros(9));
        clock.advance(Duration::from_micros(2));
        assert_eq!((clock.now(), clock.steady()), (Timestamp::from_micros(11), Timestamp::from_micros(52)));
        let (wall, steady) = (Clock::system().now(), Clock::system().steady());
        assert!(wall.since(steady).max(steady.since(wall)) < Duration::from_mins(10));
        assert!(Clock::system().steady() >= steady);
    }
}
