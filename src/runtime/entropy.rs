//! Random bytes from the operating system, or from a seed under test.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The number of bytes in a [`Supply`].
const SUPPLY_BYTES: usize = 1 << 10;

thread_local! {
    static SUPPLY: RefCell<Supply> = const { RefCell::new(Supply { bytes: [0; SUPPLY_BYTES], left: 0 }) };
}

/// Random bytes of the operating system that are not used yet.
struct Supply {
    bytes: [u8; SUPPLY_BYTES],
    /// The number of unused bytes, at the beginning.
    left: usize,
}

impl Supply {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= SUPPLY_BYTES, "a supply has them") };
        if self.left < N {
            fill(&mut self.bytes);
            self.left = SUPPLY_BYTES;
        }
        self.left -= N;
        *self.bytes[self.left..].first_chunk().expect("they are left")
    }
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// A source of random bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Entropy(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Mutex<ChaCha20Rng>>),
}

impl Entropy {
    /// Returns the operating system's random source.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a reproducible source, for tests only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))))
    }

    /// Returns `N` random bytes.
    ///
    /// # Panics
    /// If the operating system has no random source.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => fill(&mut bytes),
            Source::Seeded(rng) => {
                rng.lock().fill_bytes(&mut bytes);
            }
        }
        bytes
    }

    /// Returns `N` random bytes for an identifier that is not secret. The operating system is asked once for many.
    ///
    /// # Panics
    /// Like [`bytes`](Self::bytes).
    pub fn public_bytes<const N: usize>(&self) -> [u8; N] {
        match &self.0 {
            Source::System => SUPPLY.with_borrow_mut(Supply::take),
            Source::Seeded(_) => self.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_byte_of_a_supply_is_given_twice() {
        let draw =
            || -> Vec<u8> { (0..1_000).flat_map(|_| Entropy::system().public_bytes::<28>()).collect() };
        let drawn = [draw(), std::thread::spawn(draw).join().unwrap()].concat();
        // With windows of eight bytes, overlapping pieces would be found wherever they begin.
        let windows: HashSet<&[u8]> = drawn.windows(8).collect();
        assert_eq!(windows.len(), drawn.len() - 7);
    }
}
