//! The similarity threshold: the minimum score of a candidate pair.

use serde::{Deserialize, Serialize};

/// A similarity threshold: a double in (0, 1], stored exactly as given.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Threshold(f64);

/// The error for a threshold that is outside (0, 1] or not a number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the threshold must be greater than 0 and at most 1, not {0}")]
pub struct OutOfRange(pub f64);

impl Threshold {
    /// Returns the threshold `value`, if it is in (0, 1].
    ///
    /// # Errors
    /// [`OutOfRange`], also for NaN.
    pub fn new(value: f64) -> Result<Self, OutOfRange> {
        if value > 0.0 && value <= 1.0 { Ok(Self(value)) } else { Err(OutOfRange(value)) }
    }

    /// Returns the number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Threshold {
    type Error = OutOfRange;

    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<Threshold> for f64 {
    fn from(threshold: Threshold) -> Self {
        threshold.0
    }
}

impl std::str::FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
        Self::new(value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_in_zero_exclusive_to_one_inclusive() {
        assert!(Threshold::new(1.0).is_ok() && Threshold::new(f64::MIN_POSITIVE).is_ok());
        for wrong in [0.0, -0.1, 1.000_000_000_000_000_2, f64::NAN, f64::INFINITY] {
            assert!(Threshold::new(wrong).is_err(), "{wrong}");
        }
    }
}
