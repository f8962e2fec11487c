//! The order in which `CPython` iterates over a set of small integers: that of its hash table.

/// The number of entries that are probed after the first.
const LINEAR_PROBES: usize = 9;
const SIZE_MIN: usize = 8;

/// A free entry of a set. Sets do not hold this number.
const FREE: u32 = u32::MAX;

/// A set to which numbers below 2 to the power of 32 less one are added.
pub(crate) struct Set {
    /// The table of a small set. Its size is known to the compiler.
    small: [u32; SIZE_MIN],
    /// The entries of that table that are used, by bit.
    places: u32,
    /// The table of a larger set; empty before.
    large: Vec<u32>,
    used: usize,
}

impl Set {
    pub(crate) const fn new() -> Self {
        Self { small: [FREE; SIZE_MIN], places: 0, large: Vec::new(), used: 0 }
    }

    /// Adds a number, unless the set contains it.
    #[inline]
    pub(crate) fn add(&mut self, number: u32) {
        let size = if self.large.is_empty() {
            let Some(free) = free(&self.small, number) else { return };
            self.small[free] = number;
            self.places |= 1 << free;
            SIZE_MIN
        } else {
            let Some(free) = free(&self.large, number) else { return };
            self.large[free] = number;
            self.large.len()
        };
        self.used += 1;
        if self.used * 5 >= (size - 1) * 3 {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let least = if self.used > 50_000 { self.used * 2 } else { self.used * 4 };
        let mut larger = vec![FREE; (least + 1).next_power_of_two()];
        for number in self.table().iter().filter(|number| **number != FREE) {
            if let Some(free) = free(&larger, *number) {
                larger[free] = *number;
            }
        }
        self.large = larger;
    }

    /// Removes all numbers and shrinks the table to its initial size.
    pub(crate) fn clear(&mut self) {
        self.small = [FREE; SIZE_MIN];
        self.places = 0;
        self.large.clear();
        self.used = 0;
    }

    /// Calls `each` with every number, in order.
    #[inline]
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32)) {
        if !self.large.is_empty() {
            return self.large.iter().filter(|number| **number != FREE).for_each(|number| each(*number));
        }
        // Which entries are used cannot be predicted, but their number can.
        let mut places = self.places;
        while places != 0 {
            each(self.small[places.trailing_zeros() as usize % SIZE_MIN]);
            places &= places - 1;
        }
    }

    fn table(&self) -> &[u32] {
        if self.large.is_empty() { &self.small } else { &self.large }
    }
}

/// Appends a tuple of numbers as Python prints it.
pub(crate) fn write_tuple(numbers: impl Iterator<Item = u32>, digits: &Digits, out: &mut Vec<u8>) {
    let (mut text, mut end) = ([0; TEXT_BYTES], 1);
    text[0] = b'(';
    let mut count = 0;
    numbers.for_each(|number| {
        if end > TEXT_BYTES - NUMBER_BYTES {
            out.extend_from_slice(&text[..end]);
            end = 0;
        }
        end += digits.write(number, &mut text[end..]);
        count += 1;
    });
    let start = out.len();
    // A copy of a length that the compiler knows.
    out.extend_from_slice(&text);
    let surplus = match count {
        0 => 0,
        1 => 1,
        _ => SEPARATOR.len(),
    };
    out.truncate(start + end - surplus);
    out.push(b')');
}

/// The text between two numbers of a tuple.
const SEPARATOR: &[u8] = b", ";
/// Numbers from this one on are not written in advance.
const DIGITS_MAX: u32 = 1 << 16;
/// The room for a number that was written in advance, with the separator.
const SHORT_BYTES: usize = 8;
/// The room for any number with the separator.
const NUMBER_BYTES: usize = 12;
/// The number of bytes of a tuple that are copied at once.
const TEXT_BYTES: usize = 48;

/// The digits of numbers, written in advance: block names consist of many numbers.
#[derive(Debug)]
pub(crate) struct Digits {
    /// The digits and the separator of each number, and their length.
    numbers: Vec<([u8; SHORT_BYTES], u8)>,
}

impl Digits {
    /// Writes the numbers below `end`, as far as their number is limited.
    pub(crate) fn new(end: u32) -> Self {
        let written = |number: u32| {
            let mut text = [0; SHORT_BYTES];
            let length = write_number(number, &mut text);
            (text, length as u8)
        };
        Self { numbers: (0..end.min(DIGITS_MAX)).map(written).collect() }
    }

    /// Writes a number and the separator at the start of `out`. Returns their length.
    #[inline]
    fn write(&self, number: u32, out: &mut [u8]) -> usize {
        // A copy of a length that the compiler knows.
        match (self.numbers.get(number as usize), out.first_chunk_mut()) {
            (Some((text, length)), Some(place)) => {
                *place = *text;
                usize::from(*length)
            }
            _ => write_number(number, out),
        }
    }
}

#[cold]
fn write_number(number: u32, out: &mut [u8]) -> usize {
    let digits = number.to_string();
    let length = digits.len() + SEPARATOR.len();
    out[..digits.len()].copy_from_slice(digits.as_bytes());
    out[digits.len()..length].copy_from_slice(SEPARATOR);
    length
}

/// Returns the free entry for a number; `None` if the number is in the table.
#[inline]
fn free(table: &[u32], number: u32) -> Option<usize> {
    let mask = table.len() - 1;
    let mut perturb = number as usize;
    let mut at = number as usize & mask;
    if table[at] == FREE {
        return Some(at);
    }
    loop {
        let probes = if at + LINEAR_PROBES <= mask { LINEAR_PROBES } else { 0 };
        let mut near = table[at..=at + probes].iter();
        if let Some(probe) = near.position(|entry| *entry == FREE || *entry == number) {
            return (table[at + probe] == FREE).then_some(at + probe);
        }
        perturb >>= 5;
        at = (at * 5 + 1 + perturb) & mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected results are those of `CPython` 3.11.
    #[test]
    fn tuples_are_those_of_python() {
        let tuple = |numbers: &[u32]| {
            let mut set = Set::new();
            numbers.iter().for_each(|number| set.add(*number));
            let mut tuple = Vec::new();
            let mut list = Vec::new();
            set.for_each(|number| list.push(number));
            write_tuple(list.into_iter(), &Digits::new(1 << 10), &mut tuple);
            String::from_utf8(tuple).unwrap()
        };
        assert_eq!(tuple(&[5]), "(5,)");
        assert_eq!(tuple(&[]), "()");
        assert_eq!(tuple(&[9, 1, 17, 8, 1]), "(8, 9, 1, 17)");
        assert_eq!(
            tuple(&[2047, 1900, 3, 700, 1023, 64, 32, 96, 128, 5, 13, 21]),
            "(64, 32, 96, 3, 128, 5, 1900, 13, 21, 2047, 700, 1023)"
        );
    }
}
