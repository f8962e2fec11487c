//! `datetime.strptime` in the C locale, followed by `strftime('%Y%m%d')`.

use std::fmt::Write;

use fancy_regex::Regex;

use super::SPACE_CLASS;
use super::calendar::{Date, is_leap};
use super::numbers::decimal;

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The room for a date.
const DATE_BYTES: usize = 32;
/// A day in seconds.
const DAY_SECONDS: i64 = 86_400;

/// A date format, compiled.
#[derive(Clone, Debug)]
pub(crate) struct DateFormat {
    regex: Regex,
    /// The directives in the order of the format.
    directives: Vec<char>,
}

/// The parts of a date in its text.
#[derive(Default)]
struct Parts {
    year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    weekday: Option<i64>,
    julian: Option<i64>,
    /// The week, and whether weeks begin on Monday.
    week: Option<(i64, bool)>,
}

impl DateFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// A message, if a directive is unknown or given twice.
    pub(crate) fn new(format: &str) -> Result<Self, String> {
        let mut directives = Vec::new();
        let pattern = pattern(format, &mut directives)?;
        let repeated = directives.iter().enumerate().find(|(at, name)| directives[..*at].contains(name));
        if let Some((_, name)) = repeated {
            return Err(format!("the directive %{name} is given twice"));
        }
        let regex = Regex::new(&format!("(?i)\\A(?:{pattern})")).map_err(|error| error.to_string())?;
        Ok(Self { regex, directives })
    }

    /// Reads a date and writes it as year, month and day without separators. Years below 1000 are not padded.
    pub(crate) fn reformat(&self, text: &str) -> Option<String> {
        let found = self.regex.captures(text).ok().flatten()?;
        if found.get(0)?.end() != text.len() {
            return None;
        }
        let mut parts = Parts::default();
        for directive in &self.directives {
            let text = found.name(&directive.to_string()).map_or("", |group| group.as_str());
            parts.note(*directive, text)?;
        }
        let Date { year, month, day } = parts.day()?;
        // Growing would leave a copy of its beginning behind.
        let mut date = String::with_capacity(DATE_BYTES);
        // Writing to a string does not fail.
        let _ = write!(date, "{year}{month:02}{day:02}");
        Some(date)
    }
}

/// Translates a format to a regular expression and notes its directives.
fn pattern(format: &str, directives: &mut Vec<char>) -> Result<String, String> {
    let mut pattern = String::new();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if is_space(character) {
            while characters.next_if(|next| is_space(*next)).is_some() {}
            pattern.extend(["[", SPACE_CLASS, "]+"]);
        } else if character != '%' {
            pattern.push_str(&fancy_regex::escape(&character.to_string()));
        } else {
            let name = characters.next().ok_or("the format ends with a stray %")?;
            pattern.push_str(&directive(name, directives)?);
        }
    }
    Ok(pattern)
}

fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\x1c'..='\x1f')
}

/// The expression for one directive.
fn directive(name: char, directives: &mut Vec<char>) -> Result<String, String> {
    let composite = match name {
        'c' => Some("%a %b %d %H:%M:%S %Y"),
        'x' => Some("%m/%d/%y"),
        'X' => Some("%H:%M:%S"),
        '%' => return Ok("%".to_owned()),
        _ => None,
    };
    if let Some(format) = composite {
        return pattern(format, directives);
    }
    let expression =
        expression(name).ok_or_else(|| format!("%{name} is not a directive of a date format"))?;
    directives.push(name);
    Ok(format!("(?P<{name}>{expression})").replace("\\d", "\\p{Nd}"))
}

fn expression(name: char) -> Option<String> {
    let fixed = match name {
        'd' => r"3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9]",
        'f' => "[0-9]{1,6}",
        'H' => r"2[0-3]|[0-1]\d|\d",
        'G' | 'Y' => r"\d\d\d\d",
        'j' => r"36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]",
        'I' | 'm' => "1[0-2]|0[1-9]|[1-9]",
        'M' => r"[0-5]\d|\d",
        'S' => r"6[0-1]|[0-5]\d|\d",
        'U' | 'W' => r"5[0-3]|[0-4]\d|\d",
        'w' => "[0-6]",
        'u' => "[1-7]",
        'V' => r"5[0-3]|0[1-9]|[1-4]\d|\d",
        'y' => r"\d\d",
        'z' => r"[+-]\d\d:?[0-5]\d(?::?[0-5]\d(?:\.\d{1,6})?)?|(?-i:Z)",
        'p' => "am|pm",
        'Z' => "utc|gmt",
        'A' => return Some(alternatives(WEEKDAYS.to_vec())),
        'a' => return Some(alternatives(WEEKDAYS.map(|day| &day[..3]).to_vec())),
        'B' => return Some(alternatives(MONTHS.to_vec())),
        'b' => return Some(alternatives(MONTHS.map(|month| &month[..3]).to_vec())),
        _ => return None,
    };
    Some(fixed.to_owned())
}

/// Joins names as alternatives, the longest first.
fn alternatives(mut names: Vec<&str>) -> String {
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.join("|")
}

impl Parts {
    /// Stores the match of a directive. `None` where Python rejects the value.
    fn note(&mut self, directive: char, text: &str) -> Option<()> {
        match directive {
            'y' => self.year = Some(number(text).map(|year| year + if year <= 68 { 2000 } else { 1900 })?),
            'Y' => self.year = Some(number(text)?),
            'G' => self.iso_year = Some(number(text)?),
            'V' => self.iso_week = Some(number(text)?),
            'm' => self.month = Some(number(text)?),
            'B' => self.month = Some(position(&MONTHS, text)? + 1),
            'b' => self.month = Some(position(&MONTHS.map(|month| &month[..3]), text)? + 1),
            'd' => self.day = Some(number(text.trim_start_matches(' '))?),
            'A' => self.weekday = Some(position(&WEEKDAYS, text)?),
            'a' => self.weekday = Some(position(&WEEKDAYS.map(|day| &day[..3]), text)?),
            'w' => self.weekday = Some((number(text)? + 6) % 7),
            'u' => self.weekday = Some(number(text)? - 1),
            'j' => self.julian = Some(number(text)?),
            'U' | 'W' => self.week = Some((number(text)?, directive == 'W')),
            // A `datetime` of Python cannot hold a leap second.
            'S' if number(text)? > 59 => return None,
            'z' if !is_offset(text) => return None,
            _ => {}
        }
        Some(())
    }

    /// Returns the date that the parts give.
    fn day(&self) -> Option<Date> {
        self.check_iso()?;
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        let is_leap_day = self.year.is_none() && (month, day) == (2, 29);
        let year = self.year.unwrap_or(if is_leap_day { 1904 } else { 1900 });
        let found = match self.weeks(year) {
            _ if self.julian.is_some() => from_start(year, self.julian?)?,
            Some(day_of_year) => {
                let (year, day_of_year) = day_of_year?;
                from_start(year, day_of_year)?
            }
            None => Date::new(year, month, day)?,
        };
        // Without a year, 29 February becomes a day of 1900, which is not a leap year.
        let year = if is_leap_day { 1900 } else { found.year };
        Date::new(year, found.month, found.day)
    }

    fn check_iso(&self) -> Option<()> {
        let refused = if self.year.is_none() && self.iso_year.is_some() {
            self.iso_week.is_none() || self.weekday.is_none() || self.julian.is_some()
        } else {
            self.week.is_none() && self.iso_week.is_some()
        };
        (!refused).then_some(())
    }

    /// Returns the year and the day of the year, if a week and a weekday are given; the inner `None` where Python
    /// rejects them.
    #[expect(clippy::option_option, reason = "no week is given, or one that is rejected")]
    fn weeks(&self, year: i64) -> Option<Option<(i64, i64)>> {
        let weekday = self.weekday?;
        match (self.week, self.iso_year, self.iso_week) {
            (Some((week, from_monday)), ..) => {
                Some(day_of_week(year, week, weekday, from_monday).map(|day| (year, day)))
            }
            (None, Some(year), Some(week)) => Some(day_of_iso_week(year, week, weekday + 1)),
            _ => None,
        }
    }
}

/// Returns day `day` of a year. A day below 1 is in the year before.
fn from_start(year: i64, day: i64) -> Option<Date> {
    let (year, day) = match day {
        1.. => (year, day),
        _ if is_leap(year - 1) => (year - 1, day + 366),
        _ => (year - 1, day + 365),
    };
    Date::from_ordinal(Date::new(year, 1, 1)?.ordinal() + day - 1)
}

fn day_of_week(year: i64, week: i64, weekday: i64, from_monday: bool) -> Option<i64> {
    let shift = i64::from(!from_monday);
    let first = (Date::new(year, 1, 1)?.weekday() + shift) % 7;
    let weekday = (weekday + shift) % 7;
    if week == 0 {
        return Some(1 + weekday - first);
    }
    Some(1 + (7 - first) % 7 + 7 * (week - 1) + weekday)
}

fn day_of_iso_week(year: i64, week: i64, weekday: i64) -> Option<(i64, i64)> {
    let correction = Date::new(year, 1, 4)?.weekday() + 1 + 3;
    let ordinal = week * 7 + weekday - correction;
    if ordinal >= 1 {
        return Some((year, ordinal));
    }
    let ordinal = ordinal + Date::new(year, 1, 1)?.ordinal();
    Some((year - 1, ordinal - Date::new(year - 1, 1, 1)?.ordinal()))
}

/// Returns whether the offset of a time zone is valid: shorter than a day, with colons between all parts or none.
fn is_offset(text: &str) -> bool {
    if text == "Z" {
        return true;
    }
    let text: Vec<char> = text.chars().skip(1).collect();
    let colons: Vec<usize> = (0..text.len()).filter(|at| text[*at] == ':').collect();
    let consistent = match text.len() - colons.len() {
        4 => true,
        _ => colons == [2, 5] || colons.is_empty(),
    };
    let digits: Vec<i64> = text.iter().filter_map(|digit| decimal(*digit)).map(i64::from).collect();
    let pair = |at: usize| digits.get(at).zip(digits.get(at + 1)).map_or(0, |(tens, ones)| tens * 10 + ones);
    consistent && pair(0) * 3600 + pair(2) * 60 + pair(4) < DAY_SECONDS
}

fn number(text: &str) -> Option<i64> {
    text.chars().try_fold(0, |value, digit| Some(value * 10 + i64::from(decimal(digit)?)))
}

fn position(names: &[&str], text: &str) -> Option<i64> {
    let text = text.to_lowercase();
    names.iter().position(|name| *name == text).map(|position| position as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected results are those of Python 3.11.
    #[test]
    fn dates_are_read_as_strptime_reads_them() {
        for (format, text, written) in [
            ("%Y/%m/%d", "1996/12/19", Some("19961219")),
            ("%Y/%m/%d", "1996/2/30", None),
            ("%d%m%Y", "1122000", Some("20000211")),
            ("%d.%m.%y", "1.2.69", Some("19690201")),
            ("%d.%m.%y", "01.02.68", Some("20680201")),
            ("%Y", "0999", Some("9990101")),
            ("%Y", "0000", None),
            ("%d %B %Y", "3  MARCH 2001", Some("20010303")),
            ("%d/%m", "29/02", None),
            ("%j %Y", "366 2000", Some("20001231")),
            ("%j %Y", "366 2001", Some("20020101")),
            ("%G-W%V-%u", "2020-W53-7", Some("20210103")),
            ("%Y %U %w", "2020 0 0", Some("20191229")),
            ("%Y-%m-%d", "1996-12-19x", None),
            ("%Y-%m-%dT%H:%M:%S%z", "1996-12-19T16:39:57-08:00", Some("19961219")),
            ("%S", "60", None),
            ("%x", "12/31/99", Some("19991231")),
        ] {
            let read = DateFormat::new(format).unwrap().reformat(text);
            assert_eq!(read.as_deref(), written, "{format} {text}");
        }
        assert!(DateFormat::new("%Y%Q").is_err() && DateFormat::new("%Y %Y").is_err());
        assert!(DateFormat::new("%").is_err() && DateFormat::new("%c %d").is_err());
    }
}
