//! Options against attacks on encodings: salts, noise, balance.

mod balance;
mod noise;
mod salts;
#[cfg(test)]
mod tests;

pub(super) use self::balance::Balance;
pub(super) use self::noise::Noise;
pub(super) use self::salts::Salts;
