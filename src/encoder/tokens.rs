//! Cuts values into the tokens that are inserted into a filter. The kind of comparison determines the tokens.

use std::fmt::Write;

use num_bigint::BigInt;
use zeroize::{Zeroize, Zeroizing};

use super::buffer;
use super::python::numbers;

/// The kind of comparison, which determines the tokens of a value.
#[derive(Clone, Debug)]
pub(super) enum Comparison {
    /// Runs of `n` characters of the value, padded with spaces at both ends. Positional tokens include their number.
    Ngram { n: usize, positional: bool },
    /// The whole value.
    Exact,
    /// The neighbourhood of a number.
    Numeric(Numeric),
}

/// Turns a number into its neighbourhood. The closer two numbers are, the more tokens they share.
///
/// Source: Vatsalan & Christen (2016), doi:10.1016/j.jbi.2015.12.004.
#[derive(Clone, Debug)]
pub(super) struct Numeric {
    interval: BigInt,
    half: f64,
    resolution: u32,
    precision: u32,
}

/// The room for the number of a positional token, with a space.
const NUMBER_BYTES: usize = 21;

/// The tokens of a value, concatenated, in a buffer that is reused.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    text: String,
    ends: Vec<usize>,
    /// The padded value.
    padded: String,
    /// The start of each character in `padded`.
    starts: Vec<usize>,
}

impl Comparison {
    /// Names the comparison in words.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Ngram { n, positional: false } => format!("{n}-grams"),
            Self::Ngram { n, positional: true } => format!("positional {n}-grams"),
            Self::Exact => "exact".to_owned(),
            Self::Numeric(_) => "numeric".to_owned(),
        }
    }
}

impl Tokens {
    /// Cuts a value into tokens.
    ///
    /// # Errors
    /// The rule that the value breaks.
    pub(super) fn cut(&mut self, value: &str, comparison: &Comparison) -> Result<(), String> {
        buffer::clear_text(&mut self.text);
        self.ends.clear();
        if value.is_empty() {
            return Ok(());
        }
        match comparison {
            Comparison::Ngram { n, positional } => self.ngrams(value, *n, *positional),
            Comparison::Exact => {
                self.push(value);
            }
            Comparison::Numeric(numeric) => numeric.neighbourhood(value, self)?,
        }
        Ok(())
    }

    fn push(&mut self, token: &str) {
        buffer::reserve_text(&mut self.text, token.len());
        self.text.push_str(token);
        self.ends.push(self.text.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }

    fn ngrams(&mut self, value: &str, n: usize, positional: bool) {
        buffer::clear_text(&mut self.padded);
        buffer::reserve_text(&mut self.padded, value.len() + 2 * (n - 1));
        let blanks = || std::iter::repeat_n(' ', n - 1);
        self.padded.extend(blanks());
        self.padded.push_str(value);
        self.padded.extend(blanks());
        self.starts.clear();
        self.starts.extend(self.padded.char_indices().map(|(at, _)| at));
        self.starts.push(self.padded.len());
        for at in 0..self.starts.len().saturating_sub(n) {
            let token = &self.padded[self.starts[at]..self.starts[at + n]];
            buffer::reserve_text(&mut self.text, NUMBER_BYTES + token.len());
            if positional {
                // Writing to a string does not fail.
                let _ = write!(self.text, "{} ", at + 1);
            }
            self.text.push_str(token);
            self.ends.push(self.text.len());
        }
    }
}

/// The values and their tokens are personal data.
impl Drop for Tokens {
    fn drop(&mut self) {
        self.text.zeroize();
        self.padded.zeroize();
    }
}

impl Numeric {
    /// Compares numbers that are at most `distance` apart. `distance` is the number as written in the schema.
    ///
    /// # Errors
    /// The rule that the settings break.
    pub(super) fn new(distance: &str, resolution: u32, precision: u32) -> Result<Self, String> {
        let interval = match distance.parse::<BigInt>() {
            Ok(distance) => Some(distance * BigInt::from(10).pow(precision)),
            Err(_) => distance.parse().ok().and_then(|distance| scaled(distance, precision)),
        };
        let interval = interval.ok_or("thresholdDistance is too large")?;
        if interval == BigInt::ZERO {
            return Err("thresholdDistance is zero at this fractional_precision".to_owned());
        }
        let half = numbers::half(&interval).ok_or("thresholdDistance is too large")?;
        Ok(Self { interval, half, resolution, precision })
    }

    fn neighbourhood(&self, value: &str, tokens: &mut Tokens) -> Result<(), String> {
        let value = self.quantity(value).ok_or("the value must be a number")? * 2 * self.resolution;
        let residue = ((&value % &self.interval) + &self.interval) % &self.interval;
        let middle = if residue == BigInt::ZERO {
            value
        } else if is_below(&residue, self.half) {
            value - residue
        } else {
            value + (&self.interval - residue)
        };
        for step in -i64::from(self.resolution)..=i64::from(self.resolution) {
            let token: BigInt = &middle + &self.interval * step;
            tokens.push(&Zeroizing::new(token.to_str_radix(10)));
        }
        Ok(())
    }

    /// Returns the number times 10 to the power of `precision`, as an integer.
    fn quantity(&self, value: &str) -> Option<BigInt> {
        if let Some(value) = numbers::int(value) {
            return Some(value * BigInt::from(10).pow(self.precision));
        }
        let value = numbers::float(value)?;
        if self.precision == 0 { numbers::truncate(value) } else { scaled(value, self.precision) }
    }
}

fn scaled(value: f64, precision: u32) -> Option<BigInt> {
    let power: f64 = format!("1e{precision}").parse().ok()?;
    numbers::round(value * power)
}

/// Returns whether an integer is below a floating-point number, without rounding.
fn is_below(residue: &BigInt, half: f64) -> bool {
    match numbers::truncate(half) {
        Some(whole) => *residue < whole || (*residue == whole && half.fract() > 0.0),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(value: &str, comparison: &Comparison) -> Vec<String> {
        let mut tokens = Tokens::default();
        tokens.cut(value, comparison).unwrap();
        (0..tokens.len()).map(|at| tokens.get(at).to_owned()).collect()
    }

    #[test]
    fn values_are_cut_into_ngrams() {
        let ngram = |n, positional| Comparison::Ngram { n, positional };
        assert_eq!(tokens("añb", &ngram(2, false)), [" a", "añ", "ñb", "b "]);
        assert_eq!(tokens("ab", &ngram(1, true)), ["1 a", "2 b"]);
        assert_eq!(tokens("a", &ngram(3, true)), ["1   a", "2  a ", "3 a  "]);
        assert_eq!(tokens("", &ngram(2, false)), Vec::<String>::new());
        assert_eq!(tokens("a b", &Comparison::Exact), ["a b"]);
    }

    #[test]
    fn numbers_become_neighbourhoods() {
        let numeric = |distance, resolution, precision| {
            Comparison::Numeric(Numeric::new(distance, resolution, precision).unwrap())
        };
        assert_eq!(tokens("25", &numeric("8", 2, 0)), ["88", "96", "104", "112", "120"]);
        assert_eq!(tokens("-1", &numeric("8", 1, 0)), ["-8", "0", "8"]);
        assert_eq!(tokens("2.5", &numeric("0.5", 1, 1)), ["45", "50", "55"]);
        assert_eq!(tokens("-2.7", &numeric("1", 1, 0)), ["-5", "-4", "-3"]);
        assert!(Numeric::new("0.001", 1, 2).is_err());
    }
}
