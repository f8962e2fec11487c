//! Dates of the proleptic Gregorian calendar by number: day 1 is the first of January of year 1.

/// A day of the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

const LAST: i64 = 3_652_059;

impl Date {
    /// The day, if it exists.
    pub(crate) fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        let exists = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// The day of this number.
    pub(crate) fn from_ordinal(ordinal: i64) -> Option<Self> {
        if !(1..=LAST).contains(&ordinal) {
            return None;
        }
        let mut year = ordinal / 366 + 1;
        while days_before_year(year + 1) < ordinal {
            year += 1;
        }
        let mut left = ordinal - days_before_year(year);
        let mut month = 1;
        while left > days_in_month(year, month) {
            left -= days_in_month(year, month);
            month += 1;
        }
        Self::new(year, month, left)
    }

    /// The number of the day.
    pub(crate) fn ordinal(self) -> i64 {
        let months: i64 = (1..self.month).map(|month| days_in_month(self.year, month)).sum();
        days_before_year(self.year) + months + self.day
    }

    /// The day of the week; Monday is 0.
    pub(crate) fn weekday(self) -> i64 {
        (self.ordinal() + 6) % 7
    }
}

pub(crate) const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_before_year(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_numbers_belong_together() {
        for ordinal in (1..=LAST).step_by(97).chain([LAST]) {
            assert_eq!(Date::from_ordinal(ordinal).map(Date::ordinal), Some(ordinal));
        }
        let day = Date::new(2000, 2, 29).unwrap();
        assert_eq!((day.ordinal(), day.weekday()), (730_179, 1));
        assert_eq!(Date::from_ordinal(LAST), Date::new(9999, 12, 31));
        assert_eq!((Date::new(1900, 2, 29), Date::new(0, 1, 1), Date::from_ordinal(0)), (None, None, None));
    }
}
