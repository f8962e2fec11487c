//! Limits on requests per second, for each client and in total.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use super::rate::Rate;
use super::state_store::{BoundedState, LimiterState};
use crate::edge::network::Network;

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The limit on the uploads of one client.
    pub uploads: Rate,
    /// The limit on requests of one client for results.
    pub results: Rate,
    /// The limit on all other requests of one client.
    pub others: Rate,
    /// The limit on requests of one client without a valid token. Beyond it, all requests of the client are rejected.
    pub failures: Rate,
    /// All requests of all clients.
    pub total: Rate,
}

/// The class of a request, which determines its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An upload.
    Uploads,
    /// A request for a result.
    Results,
    /// Anything else.
    Others,
}

/// The requests that a client may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The name of the limit.
    pub limit: &'static str,
    /// The requests per second that the limit allows.
    pub per_second: u32,
    /// The number of requests that the client may send at once now.
    pub remaining: u32,
    /// The time until the client may send another request.
    pub wait: Duration,
}

/// The error for a rate-limited request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Allowance);

type Keyed = RateLimiter<Network, LimiterState, MonotonicClock, StateInformationMiddleware>;
type Direct = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>;

/// Counts the requests of a listener.
pub struct Limits {
    table: Arc<BoundedState>,
    uploads: Option<Keyed>,
    results: Option<Keyed>,
    others: Option<Keyed>,
    failures: Option<Failures>,
    total: Option<Direct>,
    clock: MonotonicClock,
}

/// The limit on requests without a valid token. They are counted after they have failed; the limit is checked before
/// the next request.
struct Failures {
    counted: Keyed,
    seen: Keyed,
}

impl Limits {
    /// Starts with full allowances.
    pub fn new(settings: Settings) -> Self {
        let table = Arc::new(BoundedState::new());
        let keyed = |rate: Rate, memory: LimiterState| Some(limiter(rate.quota()?, memory));
        let memory = |kind| LimiterState::of(Arc::clone(&table), kind);
        let failures = settings.failures.quota().map(|quota| Failures {
            counted: limiter(quota, memory(3)),
            seen: limiter(quota, LimiterState::reading(Arc::clone(&table), 3)),
        });
        Self {
            uploads: keyed(settings.uploads, memory(0)),
            results: keyed(settings.results, memory(1)),
            others: keyed(settings.others, memory(2)),
            failures,
            total: settings
                .total
                .quota()
                .map(|quota| RateLimiter::direct_with_clock(quota, MonotonicClock).with_middleware()),
            clock: MonotonicClock,
            table,
        }
    }

    /// Counts a request. Returns the allowance that is left, if there is a limit.
    ///
    /// # Errors
    /// [`Refusal`], if the request is rate-limited; it is then not counted.
    pub fn admit(&self, class: Class, address: IpAddr) -> Result<Option<Allowance>, Refusal> {
        let network = Network::of(address);
        if let Some(failures) = &self.failures {
            let seen = failures.seen.check_key(&network);
            seen.map_err(|refused| self.refusal("failed-authorizations", &refused))?;
        }
        let (name, limiter) = match class {
            Class::Uploads => ("uploads", &self.uploads),
            Class::Results => ("results", &self.results),
            Class::Others => ("requests", &self.others),
        };
        let allowed = limiter.as_ref().map(|limiter| limiter.check_key(&network)).transpose();
        let allowed = allowed.map_err(|refused| self.refusal(name, &refused))?;
        if let Some(total) = &self.total {
            total.check().map_err(|refused| self.refusal("total", &refused))?;
        }
        Ok(allowed.map(|state| allowance(name, &state)))
    }

    /// Counts a request without a valid token.
    pub fn count_failure(&self, address: IpAddr) {
        if let Some(failures) = &self.failures {
            // An error means that the allowance is used up, which the next request will find.
            let _ = failures.counted.check_key(&Network::of(address));
        }
    }

    /// Drops the state of inactive clients and frees its memory. Must be called periodically.
    pub fn sweep(&self) {
        self.table.sweep();
    }

    fn refusal(
        &self,
        limit: &'static str,
        refused: &NotUntil<<MonotonicClock as Clock>::Instant>,
    ) -> Refusal {
        let wait = refused.wait_time_from(self.clock.now());
        Refusal(Allowance { limit, per_second: per_second(refused.quota()), remaining: 0, wait })
    }
}

fn limiter(quota: Quota, memory: LimiterState) -> Keyed {
    RateLimiter::new(quota, memory, MonotonicClock)
}

fn allowance(limit: &'static str, state: &StateSnapshot) -> Allowance {
    let (quota, remaining) = (state.quota(), state.remaining_burst_capacity());
    let wait = if remaining == 0 { quota.replenish_interval() } else { Duration::ZERO };
    Allowance { limit, per_second: per_second(quota), remaining, wait }
}

fn per_second(quota: Quota) -> u32 {
    (1.0 / quota.replenish_interval().as_secs_f64()).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut Settings)) -> Limits {
        let off = Rate::Off;
        let mut settings = Settings { uploads: off, results: off, others: off, failures: off, total: off };
        change(&mut settings);
        Limits::new(settings)
    }

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_gets_its_burst_and_others_do_not_suffer() {
        let limits = limits(|settings| settings.others = rate("1:3"));
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let left: Vec<u32> =
            (0..3).map(|_| limits.admit(Class::Others, one).unwrap().unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let Refusal(refused) = limits.admit(Class::Others, one).unwrap_err();
        assert_eq!((refused.limit, refused.per_second, refused.remaining), ("requests", 1, 0));
        assert!(refused.wait > Duration::from_millis(500) && refused.wait <= Duration::from_secs(1));
        assert!(limits.admit(Class::Others, other).is_ok());
        assert_eq!(limits.admit(Class::Uploads, one), Ok(None));
    }

    #[test]
    fn failures_are_counted_when_they_happen_and_then_nothing_is_heard() {
        let limits = limits(|settings| settings.failures = rate("1:2"));
        let guesser = address("2001:db8::1");
        for _ in 0..100 {
            assert_eq!(limits.admit(Class::Results, guesser), Ok(None));
        }
        limits.count_failure(guesser);
        assert!(limits.admit(Class::Results, guesser).is_ok());
        limits.count_failure(guesser);
        let Refusal(refused) = limits.admit(Class::Results, address("2001:db8::2")).unwrap_err();
        assert_eq!(refused.limit, "failed-authorizations");
        assert!(limits.admit(Class::Results, address("2001:db8:1::")).is_ok());
    }

    #[test]
    fn the_total_is_everybody_s() {
        let limits = limits(|settings| settings.total = rate("1:2"));
        assert!(limits.admit(Class::Others, address("192.0.2.1")).is_ok());
        assert!(limits.admit(Class::Others, address("192.0.2.2")).is_ok());
        assert!(limits.admit(Class::Others, address("192.0.2.3")).is_err());
    }
}
