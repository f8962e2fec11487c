//! `random.seed` with an integer, and `random.sample` of a range.

use std::collections::HashSet;

use num_bigint::BigUint;

const LENGTH: usize = 624;
const MIDDLE: usize = 397;

/// The Mersenne Twister MT19937.
///
/// Source: Matsumoto & Nishimura (1998), doi:10.1145/272991.272995.
pub(crate) struct Random {
    state: [u32; LENGTH],
    next: usize,
}

impl Random {
    /// Creates a generator from the absolute value of a seed: Python ignores the sign.
    pub(crate) fn seeded(seed: &BigUint) -> Self {
        let mut key = seed.to_u32_digits();
        if key.is_empty() {
            key.push(0);
        }
        let mut state = initial(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..LENGTH.max(key.len()) {
            state[i] =
                (state[i] ^ stirred(state[i - 1], 1_664_525)).wrapping_add(key[j]).wrapping_add(j as u32);
            i = advance(&mut state, i);
            j = (j + 1) % key.len();
        }
        for _ in 1..LENGTH {
            state[i] = (state[i] ^ stirred(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = advance(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: LENGTH }
    }

    /// Returns `count` distinct numbers below `limit`, in the order in which they are drawn. `count` is at most `limit`.
    pub(crate) fn sample(&mut self, limit: u32, count: u32) -> Vec<u32> {
        let mut set_size = 21.0;
        if count > 5 {
            set_size += 4_f64.powf((f64::from(count * 3).ln() / 4_f64.ln()).ceil());
        }
        if f64::from(limit) <= set_size {
            let mut pool: Vec<u32> = (0..limit).collect();
            return (0..count).map(|_| pool.swap_remove(self.below(pool.len() as u32) as usize)).collect();
        }
        let mut selected = HashSet::new();
        let mut drawn = Vec::new();
        while drawn.len() < count as usize {
            let number = self.below(limit);
            if selected.insert(number) {
                drawn.push(number);
            }
        }
        drawn
    }

    /// Draws a number below `limit`, which is at least 1.
    fn below(&mut self, limit: u32) -> u32 {
        let shift = limit.leading_zeros();
        loop {
            let number = self.word() >> shift;
            if number < limit {
                return number;
            }
        }
    }

    fn word(&mut self) -> u32 {
        if self.next == LENGTH {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for at in 0..LENGTH {
            let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % LENGTH] & 0x7fff_ffff);
            let odd = if joined % 2 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + MIDDLE) % LENGTH] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }
}

fn initial(seed: u32) -> [u32; LENGTH] {
    let mut state = [seed; LENGTH];
    for at in 1..LENGTH {
        state[at] = stirred(state[at - 1], 1_812_433_253).wrapping_add(at as u32);
    }
    state
}

const fn stirred(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

/// Returns the position after `at`. After the last position, copies the last word to the start and returns 1.
const fn advance(state: &mut [u32; LENGTH], at: usize) -> usize {
    if at + 1 < LENGTH {
        return at + 1;
    }
    state[0] = state[LENGTH - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected results are those of Python 3.11.
    #[test]
    fn samples_are_those_of_python() {
        let sample = |seed: u64, limit, count| Random::seeded(&BigUint::from(seed)).sample(limit, count);
        assert_eq!(sample(0, 2048, 5), [1577, 1722, 165, 1060, 1990]);
        assert_eq!(sample(1, 20, 20), [4, 18, 2, 8, 3, 7, 12, 14, 13, 10, 6, 15, 1, 16, 0, 9, 19, 17, 5, 11]);
        assert_eq!(sample(12_345_678_901_234_567_890, 1000, 8), [524, 881, 954, 559, 657, 458, 872, 334]);
    }
}
