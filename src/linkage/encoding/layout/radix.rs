//! Sorts numbers by their digits.

/// The number of bits of a digit.
const DIGIT_BITS: u32 = 9;
const DIGITS: usize = 1 << DIGIT_BITS;

/// Sorts `items` by their upper halves, and leaves the order of those whose upper halves are equal. `spare` is for
/// temporary use.
pub(super) fn sort_upper_halves(items: &mut Vec<u64>, spare: &mut Vec<u64>) {
    let upper = |item: u64| (item >> 32) as u32;
    let (lowest, highest) = items
        .iter()
        .fold((u32::MAX, 0), |(lowest, highest), &item| (lowest.min(upper(item)), highest.max(upper(item))));
    let Some(range) = highest.checked_sub(lowest) else {
        return;
    };
    spare.resize(items.len(), 0);
    for shift in (0..u32::BITS - range.leading_zeros()).step_by(DIGIT_BITS as usize) {
        let digit = |item: u64| ((upper(item) - lowest) >> shift) as usize % DIGITS;
        let mut places = [0_usize; DIGITS];
        items.iter().for_each(|&item| places[digit(item)] += 1);
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for &item in &*items {
            let place = &mut places[digit(item)];
            spare[*place] = item;
            *place += 1;
        }
        std::mem::swap(items, spare);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn items_are_sorted_by_their_upper_halves_alone(
            mut items in proptest::collection::vec(any::<u64>(), 0..200),
            bits in 0..64_u32,
        ) {
            items.iter_mut().for_each(|item| *item >>= bits);
            let mut expected = items.clone();
            expected.sort_by_key(|item| item >> 32);
            sort_upper_halves(&mut items, &mut Vec::new());
            prop_assert_eq!(items, expected);
        }
    }
}
