//! The order in which `CPython` iterates over a set of small integers: that of its hash table.

/// The number of entries that are probed after the first.
const LINEAR_PROBES: usize = 9;
const SIZE_MIN: usize = 8;

/// A free entry of a set. Sets do not hold this number.
const FREE: u32 = u32::MAX;

/// A set to which numbers below 2 to the power of 32 less one are added.
pub(crate) struct Set {
    table: Vec<u32>,
    used: usize,
    /// Room for the numbers in order.
    list: Vec<u32>,
}

impl Set {
    pub(crate) fn new() -> Self {
        Self { table: vec![FREE; SIZE_MIN], used: 0, list: vec![0; SIZE_MIN] }
    }

    /// Adds a number, unless the set contains it.
    pub(crate) fn add(&mut self, number: u32) {
        let Some(free) = free(&self.table, number) else { return };
        self.table[free] = number;
        self.used += 1;
        if self.used * 5 >= (self.table.len() - 1) * 3 {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let least = if self.used > 50_000 { self.used * 2 } else { self.used * 4 };
        let size = (least + 1).next_power_of_two().max(SIZE_MIN);
        let old = std::mem::replace(&mut self.table, vec![FREE; size]);
        for number in old.into_iter().filter(|number| *number != FREE) {
            if let Some(free) = free(&self.table, number) {
                self.table[free] = number;
            }
        }
    }

    /// Removes all numbers and shrinks the table to its initial size.
    pub(crate) fn clear(&mut self) {
        self.table.truncate(SIZE_MIN);
        self.table.fill(FREE);
        self.used = 0;
    }

    /// Returns the numbers in order.
    pub(crate) fn list(&mut self) -> &[u32] {
        self.list.resize(self.table.len(), 0);
        let mut used = 0;
        // Without a branch: which entries are free cannot be predicted.
        for number in &self.table {
            self.list[used] = *number;
            used += usize::from(*number != FREE);
        }
        &self.list[..used]
    }
}

/// Appends a tuple of numbers as Python prints it.
pub(crate) fn write_tuple(numbers: impl ExactSizeIterator<Item = u32>, digits: &Digits, out: &mut Vec<u8>) {
    let count = numbers.len();
    let mut end = out.len() + 1;
    out.push(b'(');
    out.resize(end + count * NUMBER_BYTES + 1, 0);
    for number in numbers {
        end += digits.write(number, &mut out[end..]);
    }
    match count {
        0 => {}
        1 => end -= 1,
        _ => end -= SEPARATOR.len(),
    }
    out[end] = b')';
    out.truncate(end + 1);
}

/// The text between two numbers of a tuple.
const SEPARATOR: &[u8] = b", ";
/// Numbers from this one on are not written in advance.
const DIGITS_MAX: u32 = 1 << 16;
/// The room for a number that was written in advance, with the separator.
const SHORT_BYTES: usize = 8;
/// The room for any number with the separator.
const NUMBER_BYTES: usize = 12;

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
    fn write(&self, number: u32, out: &mut [u8]) -> usize {
        if let Some((text, length)) = self.numbers.get(number as usize) {
            // A copy of a length that the compiler knows.
            out[..SHORT_BYTES].copy_from_slice(text);
            usize::from(*length)
        } else {
            write_number(number, out)
        }
    }
}

fn write_number(number: u32, out: &mut [u8]) -> usize {
    let digits = number.to_string();
    let length = digits.len() + SEPARATOR.len();
    out[..digits.len()].copy_from_slice(digits.as_bytes());
    out[digits.len()..length].copy_from_slice(SEPARATOR);
    length
}

/// Returns the free entry for a number; `None` if the number is in the table.
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
            write_tuple(set.list().iter().copied(), &Digits::new(1 << 10), &mut tuple);
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
