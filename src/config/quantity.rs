//! Parses numbers, times and sizes in settings.
//!
//! A number without a unit is in the unit at the end of the setting's name. A unit may follow the number: `30s`,
//! `10GiB`.

/// Units of time in milliseconds.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size in bytes. `MB` is a million bytes, `MiB` is 2 to the power of 20.
const SIZES: [(&str, u64); 9] = [
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

/// Parses milliseconds in `least..=most`.
pub(super) fn milliseconds(text: &str, least: u64, most: u64) -> Option<u64> {
    time(text, 1, least, most)
}

/// Parses seconds in `least..=most`.
pub fn seconds(text: &str, least: u64, most: u64) -> Option<u64> {
    time(text, 1_000, least, most)
}

/// Parses hours in `least..=most`.
pub(super) fn hours(text: &str, least: u64, most: u64) -> Option<u64> {
    time(text, 3_600_000, least, most)
}

/// Parses days in `least..=most`.
pub(super) fn days(text: &str, least: u64, most: u64) -> Option<u64> {
    time(text, 86_400_000, least, most)
}

/// Parses bytes, at least `least`.
pub(super) fn bytes(text: &str, least: u64) -> Option<u64> {
    with_unit(text, &SIZES, 1).filter(|bytes| *bytes >= least)
}

/// Parses a decimal number in `least..=most`. Its digits may be separated by underscores.
pub fn whole(text: &str, least: u64, most: u64) -> Option<u64> {
    let inner = text.starts_with(|first: char| first.is_ascii_digit()) && !text.ends_with('_');
    let digits = text.chars().all(|c| c.is_ascii_digit() || c == '_');
    let number: u64 = (inner && digits).then(|| text.replace('_', "").parse().ok()).flatten()?;
    (least..=most).contains(&number).then_some(number)
}

/// Parses a time, which must be a multiple of `unit` milliseconds; returns the multiple.
fn time(text: &str, unit: u64, least: u64, most: u64) -> Option<u64> {
    let milliseconds = with_unit(text, &TIMES, unit)?;
    let count = milliseconds / unit;
    (milliseconds % unit == 0 && (least..=most).contains(&count)).then_some(count)
}

/// Parses a number and the unit after it, if there is one.
fn with_unit(text: &str, units: &[(&str, u64)], default: u64) -> Option<u64> {
    let digits_end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let factor = match unit {
        "" => default,
        unit => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    whole(number, 0, u64::MAX)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_contain_underscores_and_nothing_else() {
        assert_eq!(whole("300_000_000", 1, u64::MAX), Some(300_000_000));
        assert_eq!(whole("0", 0, 5), Some(0));
        for wrong in ["", "_", "_1", "1_", "+1", "-1", "1.0", "1e3", " 1", "99999999999999999999"] {
            assert_eq!(whole(wrong, 0, u64::MAX), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_may_have_a_unit() {
        for (text, expected) in
            [("30_000", 30_000), ("30s", 30_000), ("250ms", 250), ("2m", 120_000), ("1 h", 3_600_000)]
        {
            assert_eq!(milliseconds(text, 100, 86_400_000), Some(expected), "{text}");
        }
        assert_eq!(seconds("12h", 900, 604_800), Some(43_200));
        assert_eq!(hours("7d", 1, 87_600), Some(168));
        assert_eq!(days("30", 1, 36_500), Some(30));
        for wrong in ["", "s", "1.5s", "-1s", "30x", "30ss", "s30", "2d", "30  s"] {
            assert_eq!(milliseconds(wrong, 100, 86_400_000), None, "{wrong}");
        }
        assert_eq!(hours("90m", 1, 87_600), None, "an hour and a half is no whole number of hours");
    }

    #[test]
    fn a_size_may_have_a_unit() {
        for (text, expected) in [
            ("10_737_418_240", 10 << 30),
            ("10GiB", 10 << 30),
            ("10 gib", 10 << 30),
            ("4GB", 4_000_000_000),
            ("1kB", 1_000),
            ("7B", 7),
        ] {
            assert_eq!(bytes(text, 1), Some(expected), "{text}");
        }
        for wrong in ["", "GiB", "1.5GiB", "0", "10G", "10Gb/s", "99999999999TiB"] {
            assert_eq!(bytes(wrong, 1), None, "{wrong}");
        }
    }
}
