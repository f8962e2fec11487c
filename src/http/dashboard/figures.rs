//! Numbers, times and sizes in a readable form.

use std::time::Duration;

use crate::runtime::clock::Timestamp;

/// A time, for programs and as text in UTC; the browser shows it in its own zone.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// ISO 8601 with the zone.
    pub(super) iso: String,
    /// The same time, rounded down to the second.
    pub(super) text: String,
}

impl From<Timestamp> for Moment {
    fn from(moment: Timestamp) -> Self {
        let seconds = moment.whole_seconds().to_string();
        Self { iso: format!("{moment}Z"), text: format!("{} UTC", seconds.replace('T', " ")) }
    }
}

/// Returns a whole number with a comma after each group of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with at most three significant digits, such as `1.25 billion`.
pub(super) fn rounded(number: f64) -> String {
    const UNITS: [(f64, &str); 4] =
        [(1e12, " trillion"), (1e9, " billion"), (1e6, " million"), (1e4, " thousand")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| number >= *unit) else {
        return grouped(number.round().max(0.0) as u64);
    };
    // From ten thousand on, numbers are in thousands.
    let unit = if unit < 1e6 { 1e3 } else { unit };
    let number = number / unit;
    match number {
        number if number >= 100.0 => format!("{}{name}", grouped(number.round() as u64)),
        number if number >= 10.0 => format!("{number:.1}{name}"),
        number => format!("{number:.2}{name}"),
    }
}

/// Returns a size in bytes as a multiple of 1,024, such as `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} bytes");
    }
    let mut number = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while number >= 1_000.0 && unit + 1 < UNITS.len() {
        number /= 1_024.0;
        unit += 1;
    }
    let unit = UNITS[unit];
    if number < 10.0 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

/// Returns a duration in its two largest units, such as `3 min 20 s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 1 => "under 1 ms".to_owned(),
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Returns a fraction as a percentage, rounded down: 100 % is all.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 100 } else { (u128::from(part) * 100 / u128::from(whole)).min(100) as u64 }
}

/// Returns the noun with its number, such as `1 run` and `2 runs`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Returns the beginning of an identifier, as tables and the log show it.
pub(super) fn identifier(id: &impl ToString) -> String {
    beginning(&id.to_string(), 8)
}

/// Returns the beginning of a text, with an ellipsis if the rest is cut.
pub(super) fn beginning(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_exact_and_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [
            (0.4, "0"),
            (9_999.0, "9,999"),
            (12_345.0, "12.3 thousand"),
            (1_250_000_000.0, "1.25 billion"),
            (123_456_789.0, "123 million"),
            (4.2e16, "42,000 trillion"),
        ] {
            assert_eq!(rounded(number), text);
        }
    }

    #[test]
    fn sizes_and_durations_have_their_usual_units() {
        for (bytes, text) in [(512, "512 bytes"), (1_536, "1.5 KiB"), (330_000_000, "315 MiB")] {
            assert_eq!(size(bytes), text);
        }
        for (millis, text) in [
            (12, "12 ms"),
            (1_250, "1.2 s"),
            (59_000, "59 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn all_but_one_is_not_a_hundred_percent() {
        assert_eq!((percent(999_999, 1_000_000), percent(5, 5), percent(0, 0)), (99, 100, 100));
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((beginning("ÄÖÜ", 2), beginning("ÄÖÜ", 3)), ("ÄÖ…".to_owned(), "ÄÖÜ".to_owned()));
        assert_eq!((counted(1, "run"), counted(2_000, "run")), ("1 run".to_owned(), "2,000 runs".to_owned()));
    }
}
