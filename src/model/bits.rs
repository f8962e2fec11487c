//! A set of small numbers, stored as a bit for each. It records the parts of a run whose outcome was applied.

/// A set of numbers below a fixed bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitSet {
    bytes: Vec<u8>,
    count: u64,
}

impl BitSet {
    /// Returns the empty set of numbers below `bound`.
    pub fn below(bound: u32) -> Self {
        Self { bytes: vec![0; (bound as usize).div_ceil(8)], count: 0 }
    }

    /// Returns the set stored as `bytes`: number `n` is bit `n % 8` of byte `n / 8`.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let count = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        Self { bytes, count }
    }

    /// Returns the stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds `number`. Returns false if it is already in the set or not below the bound.
    pub fn insert(&mut self, number: u32) -> bool {
        let bit = 1 << (number % 8);
        match self.bytes.get_mut(number as usize / 8) {
            Some(byte) if *byte & bit == 0 => {
                *byte |= bit;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Returns true if `number` is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.bytes.get(number as usize / 8).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// Returns the count of numbers in the set.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Returns true if the set is empty.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once() {
        let mut set = BitSet::below(10);
        assert!(set.is_empty() && set.insert(9) && set.insert(0));
        assert!(!set.insert(9) && !set.insert(800));
        assert!(set.contains(9) && !set.contains(1) && !set.contains(800));
        assert_eq!(set.len(), 2);
        assert_eq!(BitSet::from_bytes(set.as_bytes().to_vec()), set);
    }
}
