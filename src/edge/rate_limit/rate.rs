//! A rate limit, and its text form.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use governor::Quota;
use serde::{Serialize, Serializer};

/// A rate limit: a number of requests per second, and a burst that may come at once. Its text form is `200:50`, or
/// `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// No limit.
    Off,
    /// A limit.
    Limited {
        /// The number of requests per second.
        per_second: NonZeroU32,
        /// The number of requests at once.
        burst: NonZeroU32,
    },
}

impl Rate {
    pub(super) fn quota(self) -> Option<Quota> {
        match self {
            Self::Off => None,
            Self::Limited { per_second, burst } => Some(Quota::per_second(per_second).allow_burst(burst)),
        }
    }
}

/// The text is not a rate.
#[derive(Debug)]
pub struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let number = |text: &str| text.parse::<NonZeroU32>().map_err(|_| NotARate);
        let (per_second, burst) = text.split_once(':').ok_or(NotARate)?;
        Ok(Self::Limited { per_second: number(per_second)?, burst: number(burst)? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Limited { per_second, burst } => write!(f, "{per_second}:{burst}"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for text in ["off", "200:50", "1:4294967295"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "200", "0:5", "5:0", "200/s", "-1:5", "4294967296:1", "a:b"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
