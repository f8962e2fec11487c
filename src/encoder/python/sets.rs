//! The order in which `CPython` iterates over a set of small integers: that of its hash table.

/// The number of entries that are probed after the first.
const LINEAR_PROBES: usize = 9;
const SIZE_MIN: usize = 8;

/// A set to which numbers are added.
pub(in crate::encoder) struct Set {
    table: Vec<Option<u32>>,
    used: usize,
}

impl Set {
    pub(in crate::encoder) fn new() -> Self {
        Self { table: vec![None; SIZE_MIN], used: 0 }
    }

    /// Adds a number, unless the set contains it.
    pub(in crate::encoder) fn add(&mut self, number: u32) {
        let Some(free) = free(&self.table, number) else { return };
        self.table[free] = Some(number);
        self.used += 1;
        if self.used * 5 >= (self.table.len() - 1) * 3 {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let least = if self.used > 50_000 { self.used * 2 } else { self.used * 4 };
        let size = (least + 1).next_power_of_two().max(SIZE_MIN);
        let old = std::mem::replace(&mut self.table, vec![None; size]);
        for number in old.into_iter().flatten() {
            if let Some(free) = free(&self.table, number) {
                self.table[free] = Some(number);
            }
        }
    }

    /// Removes all numbers and shrinks the table to its initial size.
    pub(in crate::encoder) fn clear(&mut self) {
        self.table.clear();
        self.table.resize(SIZE_MIN, None);
        self.used = 0;
    }

    /// Appends `str(tuple(set))`.
    pub(in crate::encoder) fn write_tuple(&self, out: &mut String) {
        out.push('(');
        for (at, number) in self.table.iter().flatten().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            write_number(*number, out);
        }
        out.push_str(if self.used == 1 { ",)" } else { ")" });
    }
}

/// Appends a number. This is faster than `write!`; block names consist of many numbers.
fn write_number(mut number: u32, out: &mut String) {
    let mut digits = ['0'; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = char::from(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(&digits[first..]);
}

/// Returns the free entry for a number; `None` if the number is in the table.
fn free(table: &[Option<u32>], number: u32) -> Option<usize> {
    let mask = table.len() - 1;
    let mut perturb = number as usize;
    let mut at = number as usize & mask;
    loop {
        let probes = if at + LINEAR_PROBES <= mask { LINEAR_PROBES } else { 0 };
        let mut near = table[at..=at + probes].iter();
        if let Some(probe) = near.position(|entry| entry.is_none_or(|known| known == number)) {
            return table[at + probe].is_none().then_some(at + probe);
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
            let mut tuple = String::new();
            set.write_tuple(&mut tuple);
            tuple
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
