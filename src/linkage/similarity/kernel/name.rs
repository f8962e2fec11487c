//! The names of kernels.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A kernel, whether or not this processor can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// For any processor.
    Portable,
    /// For x86-64 with POPCNT.
    Popcnt,
    /// For x86-64 with AVX2, BMI1 and POPCNT.
    Avx2,
    /// For x86-64 with AVX-512 BW and VPOPCNTDQ.
    Avx512,
    /// For x86-64 with AMX-INT8 and AVX-512.
    Amx,
    /// For aarch64.
    Neon,
}

impl Name {
    /// All kernels.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Popcnt, Self::Avx2, Self::Avx512, Self::Amx, Self::Neon];

    /// Returns the name as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Popcnt => "popcnt",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give portable, popcnt, avx2, avx512, amx or neon")]
pub struct NotAName;

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(NotAName)
    }
}
