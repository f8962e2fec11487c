//! The rules of Python on which the results of the reference tools depend: numbers in text, dates, regular
//! expressions, base64. The behaviour is that of Python 3.11.

pub(super) mod base64;
pub(super) mod calendar;
pub(super) mod dates;
pub(super) mod numbers;
pub(super) mod pattern;
mod pattern_group;
mod pattern_class;
pub(super) mod random;
pub(super) mod sets;

/// Characters that `str.isspace` and `\s` accept, as a class without its brackets.
pub(super) const SPACE_CLASS: &str =
    r"\t-\r\x1c-\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}";
