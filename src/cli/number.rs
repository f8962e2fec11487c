//! Value parsers for numbers and times on the command line. Their errors name the accepted range.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use crate::config::quantity;

/// The longest time that an option takes, in seconds: ten years.
pub(super) const TIME_MAX: u64 = 315_360_000;

/// Returns a parser for a whole number in `range`, which ends at the largest `T` if it has no end.
pub(super) fn whole<T: TryFrom<u64>>(
    range: impl RangeBounds<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    let largest = u64::MAX >> (u64::BITS - 8 * size_of::<T>() as u32);
    let least = match range.start_bound() {
        Bound::Included(number) => *number,
        Bound::Excluded(number) => number + 1,
        Bound::Unbounded => 0,
    };
    let most = match range.end_bound() {
        Bound::Included(number) => *number,
        Bound::Excluded(number) => number - 1,
        Bound::Unbounded => largest,
    };
    move |text| {
        let number = quantity::whole(text, least, most).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("give a whole number from {least} to {most}"))
    }
}

/// Returns a parser for a time, as seconds in `range`. A unit may follow the number.
pub(super) fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let (least, most) = (*range.start(), *range.end());
        quantity::seconds(text, least, most)
            .ok_or_else(|| format!("give seconds from {least} to {most}, or a time such as 90s, 30m or 2h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_range() {
        let parse = whole::<u16>(2..=100);
        assert_eq!((parse("2"), parse("100")), (Ok(2), Ok(100)));
        for text in ["-1", "1", "101", "two", "", "1.5"] {
            assert_eq!(parse(text), Err("give a whole number from 2 to 100".to_owned()), "{text}");
        }
        assert_eq!(whole::<u64>(0..)("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(whole::<u16>(1..)("70000"), Err("give a whole number from 1 to 65535".to_owned()));
    }

    #[test]
    fn a_time_is_in_seconds_or_has_a_unit() {
        let parse = seconds(1..=86_400);
        assert_eq!([parse("90"), parse("90s"), parse("2h")], [Ok(90), Ok(90), Ok(7_200)]);
        for text in ["0", "-1", "soon", "2d"] {
            assert!(
                parse(text).unwrap_err().starts_with("give seconds from 1 to 86400, or a time"),
                "{text}"
            );
        }
    }
}
