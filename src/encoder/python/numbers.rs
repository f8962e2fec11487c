//! `int(text, base=10)`, `float(text)` and `round` as in Python.

use num_bigint::BigInt;
use zeroize::Zeroizing;

/// The maximum number of digits that Python's `int` reads and `str` writes.
const DIGITS_MAX: usize = 4300;

/// The code points of the digit zero in Unicode 14, one for each script. The other nine digits follow directly.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50,
    0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066,
    0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950,
    0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
    0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

/// Returns the value of a decimal digit of any script.
pub(crate) fn decimal(character: char) -> Option<u8> {
    let code = u32::from(character);
    let at = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    u8::try_from(code - ZEROS[at]).ok().filter(|digit| *digit < 10)
}

/// Reads an integer. Whitespace around it, a sign, digits of any script and single underscores between digits are
/// valid.
pub(crate) fn int(text: &str) -> Option<BigInt> {
    let text = to_ascii(text)?;
    let (is_negative, digits) = sign(&text);
    let digits = without_underscores(digits)?;
    let well_formed = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !well_formed || digits.len() > DIGITS_MAX {
        return None;
    }
    let value: BigInt = digits.parse().ok()?;
    Some(if is_negative { -value } else { value })
}

/// Reads a floating point number; infinities and NaN included.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = without_underscores(&to_ascii(text)?)?;
    text.parse().ok()
}

/// Rounds half to even and returns the integer; `None` for infinities and NaN.
pub(crate) fn round(value: f64) -> Option<BigInt> {
    truncate(value.round_ties_even())
}

/// Truncates the fraction; `None` for infinities and NaN.
pub(crate) fn truncate(value: f64) -> Option<BigInt> {
    if !value.is_finite() {
        return None;
    }
    let bits = value.trunc().to_bits();
    let exponent = i64::try_from((bits >> 52) & 0x7ff).ok()? - 1075;
    let fraction = bits & ((1 << 52) - 1);
    let magnitude = if exponent == -1075 { BigInt::ZERO } else { BigInt::from(fraction | (1 << 52)) };
    let shifted = if exponent < 0 { magnitude >> -exponent } else { magnitude << exponent };
    Some(if value.is_sign_negative() { -shifted } else { shifted })
}

/// Divides by two as Python's `/` does; `None` on overflow.
pub(crate) fn half(value: &BigInt) -> Option<f64> {
    let nearest: f64 = value.to_string().parse().ok()?;
    let half = nearest / 2.0;
    half.is_finite().then_some(half)
}

/// Converts digits and whitespace of all scripts to ASCII, and removes the whitespace around the text.
fn to_ascii(text: &str) -> Option<Zeroizing<String>> {
    if text.is_ascii() {
        return Some(Zeroizing::new(text.trim_matches(is_ascii_blank).to_owned()));
    }
    let ascii = |character: char| match character {
        '\0'..='\x7f' => Some(character),
        _ if character.is_whitespace() => Some(' '),
        _ => decimal(character).map(|digit| char::from(b'0' + digit)),
    };
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    for character in text.chars() {
        plain.push(ascii(character)?);
    }
    Some(Zeroizing::new(plain.trim_matches(is_ascii_blank).to_owned()))
}

const fn is_ascii_blank(character: char) -> bool {
    matches!(character, '\t'..='\r' | ' ')
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// Removes underscores; `None` if one is not between two digits.
fn without_underscores(text: &str) -> Option<Zeroizing<String>> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let between = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    let mut underscores = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    underscores.all(|(at, _)| between(at)).then(|| {
        let mut plain = Zeroizing::new(String::with_capacity(text.len()));
        plain.extend(text.chars().filter(|character| *character != '_'));
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_python_reads_them() {
        for (text, value) in [
            ("13", Some("13")),
            (" +13\u{a0}", Some("13")),
            ("-007", Some("-7")),
            ("-0", Some("0")),
            ("1_000", Some("1000")),
            ("\u{663}\u{664}", Some("34")),
            ("\u{ff11}0", Some("10")),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("+ 1", None),
            ("1.0", None),
            ("\x1c1", None),
            ("", None),
            ("\u{b2}", None),
        ] {
            assert_eq!(int(text).map(|value| value.to_string()).as_deref(), value, "{text:?}");
        }
        assert!(int(&"1".repeat(4300)).is_some() && int(&"0".repeat(4301)).is_none());
    }

    #[test]
    fn floats_are_read_and_rounded_as_python_does() {
        assert_eq!(float(" 1_000.5 "), Some(1000.5));
        assert_eq!(float("\u{663}.5"), Some(3.5));
        assert_eq!(float("1_.5"), None);
        assert_eq!(float("0x10"), None);
        let rounded = |value: f64| round(value).map(|value| value.to_string());
        assert_eq!(rounded(2.5).as_deref(), Some("2"));
        assert_eq!(rounded(-3.5).as_deref(), Some("-4"));
        assert_eq!(rounded(1e22).as_deref(), Some("10000000000000000000000"));
        assert_eq!(rounded(f64::INFINITY), None);
        assert_eq!(truncate(-0.9), Some(BigInt::ZERO));
        assert_eq!(truncate(1e-310), Some(BigInt::ZERO));
    }
}
