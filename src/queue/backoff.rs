//! The delay after which a failed job is tried again.

use std::time::Duration;

use crate::runtime::entropy::Entropy;

/// Exponential backoff with equal jitter: half of the wait is fixed and half is random, so jobs that failed together
/// are not retried together.
///
/// Source: Brooker (2015), "Exponential Backoff And Jitter", AWS Architecture Blog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first attempt.
    pub first: Duration,
    /// The longest wait after any attempt.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_mins(1) }
    }
}

impl Backoff {
    /// Returns the wait after this many attempts (from 1).
    pub fn after(&self, attempts: u8, entropy: &Entropy) -> Duration {
        let doubled = 2_u32.saturating_pow(u32::from(attempts.saturating_sub(1)));
        let wait = self.first.saturating_mul(doubled).min(self.longest);
        let chance = f64::from(u32::from_le_bytes(entropy.bytes())) / f64::from(u32::MAX);
        wait / 2 + (wait / 2).mul_f64(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_at_least_half_certain() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        let entropy = Entropy::seeded(7);
        for (attempts, most) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (255, 10)] {
            let most = Duration::from_secs(most);
            for _ in 0..50 {
                let wait = backoff.after(attempts, &entropy);
                assert!(wait >= most / 2 && wait <= most, "{attempts}: {wait:?}");
            }
        }
    }
}
