//! Encodes people as Bloom filters, as a data provider does before it sends data.
//!
//! A space is added at both ends of every field, and the text is split into bigrams (`" a", "an", "na", "a "`). Each
//! bigram is hashed with its field name (and its position in a date of birth) by `BLAKE2b`, keyed with the parties'
//! shared secret. The first 8 to 14 16-bit words of the hash, modulo 1024, are the bits to set; fields that identify
//! people better set more. Without the key, names cannot be guessed by trial; similar texts share most of their bits.
//!
//! This suffices for a demo: unlike a real linkage schema, it does not harden the filters against frequency attacks.
//!
//! Source: Schnell, Bachteler & Reiher (2009), doi:10.1186/1472-6947-9-41.

use blake2::Blake2bMac512;
use blake2::digest::{KeyInit, Mac};
use rayon::prelude::*;

use super::people::Person;

/// The size of an encoding in bytes.
pub(super) const ENCODING_BYTES: usize = 128;
const BITS: usize = ENCODING_BYTES * 8;

/// The secret of the parties, which the server does not have.
const KEY: &[u8] = b"only the data providers know this";

/// Returns the encodings of the people, concatenated, [`ENCODING_BYTES`] bytes each.
pub(super) fn encode(people: &[Person]) -> Vec<u8> {
    let keyed = Blake2bMac512::new_from_slice(KEY).expect("the key is at most 64 bytes long");
    let mut rows = vec![0; people.len() * ENCODING_BYTES];
    let pairs = rows.par_chunks_exact_mut(ENCODING_BYTES).zip(people);
    pairs.for_each(|(row, person)| encode_one(&keyed, person, row));
    rows
}

fn encode_one(keyed: &Blake2bMac512, person: &Person, row: &mut [u8]) {
    let fields = [
        ("given", &person.given, false, 12),
        ("family", &person.family, false, 14),
        ("born", &person.born, true, 14),
        ("place", &person.place, false, 8),
    ];
    for (field, text, positional, bits) in fields {
        let padded: Vec<char> = std::iter::once(' ').chain(text.chars()).chain([' ']).collect();
        for (position, bigram) in padded.windows(2).enumerate() {
            let position = if positional { position } else { 0 };
            let term = format!("{field}/{position}/{}{}", bigram[0], bigram[1]);
            set_bits(keyed.clone().chain_update(term), bits, row);
        }
    }
}

fn set_bits(term: Blake2bMac512, count: usize, row: &mut [u8]) {
    let tag = term.finalize().into_bytes();
    for word in tag.chunks_exact(2).take(count) {
        let bit = usize::from(u16::from_le_bytes([word[0], word[1]])) % BITS;
        row[bit / 8] |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(a: &[u8], b: &[u8]) -> f64 {
        let count = |bits: &mut dyn Iterator<Item = u8>| bits.map(u8::count_ones).sum::<u32>();
        let common = count(&mut a.iter().zip(b).map(|(a, b)| a & b));
        f64::from(2 * common) / f64::from(count(&mut a.iter().copied()) + count(&mut b.iter().copied()))
    }

    #[test]
    fn one_slip_leaves_encodings_alike_and_strangers_differ() {
        let anna = Person {
            given: "katherine".into(),
            family: "miller".into(),
            born: "19840307".into(),
            place: "hamburg".into(),
        };
        let slipped = Person { given: "kathrine".into(), ..anna.clone() };
        let stranger = Person {
            given: "oscar".into(),
            family: "dvorak".into(),
            born: "19720921".into(),
            place: "perth".into(),
        };
        let rows = encode(&[anna.clone(), slipped, stranger, anna]);
        let row = |index: usize| &rows[index * ENCODING_BYTES..][..ENCODING_BYTES];
        assert_eq!(row(0), row(3));
        let (like, unlike) = (dice(row(0), row(1)), dice(row(0), row(2)));
        assert!(like > 0.93 && unlike < 0.6, "{like} {unlike}");
    }
}
