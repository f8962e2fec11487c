//! The limit on the removals of one clean-up.

/// The maximum share of all entries that one clean-up may remove without the operator's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupLimit {
    /// The share, in percent.
    pub percent: u8,
}

impl CleanupLimit {
    /// The number of removals that is always permitted.
    const FEW: u64 = 100;

    /// Returns true if one clean-up may remove `removed` of `all` entries.
    pub const fn admits(self, removed: u64, all: u64) -> bool {
        removed <= Self::FEW || removed.saturating_mul(100) <= all.saturating_mul(self.percent as u64)
    }
}

impl Default for CleanupLimit {
    fn default() -> Self {
        Self { percent: 25 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_may_always_go_and_of_many_a_share() {
        let limit = CleanupLimit::default();
        assert!(limit.admits(100, 100) && limit.admits(250, 1_000));
        assert!(!limit.admits(101, 101) && !limit.admits(251, 1_000));
        assert!(CleanupLimit { percent: 100 }.admits(5_000, 5_000));
        assert!(!CleanupLimit { percent: 0 }.admits(101, u64::MAX));
    }
}
