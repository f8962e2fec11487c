//! Balanced encodings: a filter and its complement, permuted under the secret. All encodings have the same popcount.
//!
//! Source: Schnell & Borgs (2016), "Randomized response and balanced Bloom filters for privacy preserving record linkage".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::hash::set;
use crate::keys::{self, KeyDerivation};

/// Balances filters of one size.
pub(crate) struct Balance {
    /// The position in an encoding of each bit of a filter, then of each bit of its complement.
    places: Zeroizing<Vec<u32>>,
    bits: usize,
    balanced: Vec<u64>,
}

impl Balance {
    /// Derives the permutation: it orders the bits by the HMAC of their number, with a key that serves no other purpose.
    pub(crate) fn new(derivation: &KeyDerivation, secret: &[u8], bits: usize) -> Self {
        let key = keys::single(derivation, secret, b"balance");
        let mac = Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length");
        let tag = |bit: u32| mac.clone().chain_update(bit.to_be_bytes()).finalize().into_bytes();
        let mut order: Vec<_> = (0..2 * bits as u32).map(|bit| (tag(bit), bit)).collect();
        order.sort_unstable();
        let mut places = Zeroizing::new(vec![0; order.len()]);
        for (place, (tag, bit)) in (0..).zip(&mut order) {
            places[*bit as usize] = place;
            tag.fill(0);
        }
        Self { places, bits, balanced: vec![0; (2 * bits).div_ceil(64)] }
    }

    /// Returns the encoding of a filter.
    pub(crate) fn apply(&mut self, filter: &[u64]) -> &[u64] {
        self.balanced.fill(0);
        let (set_places, clear_places) = self.places.split_at(self.bits);
        for (bit, (of_set, of_clear)) in set_places.iter().zip(clear_places).enumerate() {
            let is_set = filter[bit / 64] >> (63 - bit % 64) & 1 == 1;
            set(&mut self.balanced, *if is_set { of_set } else { of_clear } as usize);
        }
        &self.balanced
    }
}
