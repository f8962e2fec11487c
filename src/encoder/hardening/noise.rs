//! BLIP: bits are flipped by noise that depends on the record and the secret.
//!
//! A record that is encoded again gets the same noise, because fresh noise would average out over several uploads.
//! Records with different identifiers get independent noise, even if their filters are equal.

use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{self, KeyDerivation};
use crate::schema::Blip;

/// Flips bits of filters.
pub(crate) struct Noise {
    mac: Hmac<Sha256>,
    threshold: u32,
    /// The column that identifies the record.
    pub(crate) column: usize,
}

impl Noise {
    pub(crate) fn new(blip: Blip, derivation: &KeyDerivation, secret: &[u8]) -> Self {
        let key = keys::single(derivation, secret, b"blip");
        let mac = Hmac::new_from_slice(&*key).expect("HMAC takes keys of any length");
        Self { mac, threshold: blip.threshold(), column: blip.column }
    }

    /// Flips bits of the filter of a record. `ChaCha20` draws 32 bits for each bit of the filter. Its key is the HMAC of
    /// the record's identifier and the filter.
    pub(crate) fn add(&self, record: &str, filter: &mut [u64]) {
        let mut mac = self.mac.clone();
        mac.update(&(record.len() as u64).to_be_bytes());
        mac.update(record.as_bytes());
        filter.iter().for_each(|word| mac.update(&word.to_be_bytes()));
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
        let mut draw = ChaCha20Rng::from_seed(*seed);
        for word in filter {
            for bit in (0..64).rev() {
                *word ^= u64::from(draw.next_u32() < self.threshold) << bit;
            }
        }
    }
}
