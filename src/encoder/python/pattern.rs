//! Translates regular expressions of Python's `re`: some classes, anchors and escapes differ in Rust.

use std::iter::Peekable;
use std::str::Chars;

use fancy_regex::Regex;

use super::pattern_class::{self as class, Flags, Member};

/// A pattern that a whole text must match (`re.fullmatch`).
#[derive(Clone, Debug)]
pub(in crate::encoder) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern of Python.
    ///
    /// # Errors
    /// A message, if the pattern is invalid.
    pub(in crate::encoder) fn new(pattern: &str) -> Result<Self, String> {
        let mut translation =
            Translation { rest: pattern.chars().peekable(), out: String::new(), flags: Flags::default() };
        translation.all()?;
        // The line break ends a comment at the end of a verbose pattern.
        let end = if translation.flags.verbose { "\n" } else { "" };
        Regex::new(&format!("\\A(?:{}{end})\\z", translation.out))
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Returns whether the whole text matches. If matching exceeds the backtracking limit, the text does not match.
    pub(in crate::encoder) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    flags: Flags,
}

impl Translation<'_> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            match character {
                '\\' => self.escape()?,
                '[' => self.out.push_str(&class::translate(&mut self.rest, self.flags)?),
                '(' => self.group()?,
                '$' if !self.flags.multiline => self.out.push_str("(?=\\n?\\z)"),
                '{' => self.braces(),
                '#' if self.flags.verbose => self.comment('\n'),
                ']' | '}' => self.literal(character),
                _ => self.out.push(character),
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&fancy_regex::escape(&character.to_string()));
    }

    fn comment(&mut self, end: char) {
        for character in self.rest.by_ref() {
            if character == end {
                break;
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let word = class::word(self.flags);
        match self.rest.peek().copied() {
            Some(anchor @ ('A' | 'Z' | 'b' | 'B')) => {
                self.rest.next();
                let is_bound = format!("(?:(?<=[{word}])(?![{word}])|(?<![{word}])(?=[{word}]))");
                self.push(&match anchor {
                    'A' => "\\A".to_owned(),
                    'Z' => "\\z".to_owned(),
                    'b' => is_bound,
                    _ => format!("(?!{is_bound})"),
                });
            }
            Some('1'..='9') => self.reference()?,
            _ => match class::escape(&mut self.rest, self.flags)? {
                Member::One(character) => self.literal(character),
                Member::Set(set) => self.push(&format!("[{set}]")),
            },
        }
        Ok(())
    }

    /// Translates digits after a backslash. One or two digits are a back reference; three octal digits are a character.
    fn reference(&mut self) -> Result<(), String> {
        let mut digits = String::new();
        while digits.len() < 3
            && let Some(digit) = self
                .rest
                .next_if(|next| next.is_ascii_digit() && (digits.len() < 2 || is_octal(&digits, *next)))
        {
            digits.push(digit);
        }
        if digits.len() == 3 {
            let code = u32::from_str_radix(&digits, 8).ok().filter(|code| *code <= 0o377);
            self.literal(code.and_then(char::from_u32).ok_or("an octal escape is above \\377")?);
        } else {
            // Grouped, so that a following digit does not become part of the number.
            self.push(&format!("(?:\\{digits})"));
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            return Ok(());
        }
        if self.rest.next_if_eq(&'#').is_some() {
            self.comment(')');
            return Ok(());
        }
        let is_flag = |next: &char| next.is_ascii_alphabetic() && *next != 'P';
        if !self.rest.peek().is_some_and(is_flag) {
            self.out.push_str("(?");
            return Ok(());
        }
        let mut flags = String::new();
        while let Some(flag) = self.rest.next_if(|next| next.is_ascii_alphabetic() || *next == '-') {
            flags.push(flag);
        }
        self.flags(&flags)
    }

    fn flags(&mut self, flags: &str) -> Result<(), String> {
        if let Some(unknown) = flags.chars().find(|flag| !"aimsux-".contains(*flag)) {
            return Err(format!("the flag {unknown} is not one of a, i, m, s, u, x"));
        }
        let kept: String = flags.chars().filter(|flag| "imsx-".contains(*flag)).collect();
        let kept = kept.strip_suffix('-').unwrap_or(&kept);
        if self.rest.next_if_eq(&')').is_none() {
            self.push(&format!("(?{kept}"));
            return Ok(());
        }
        if !self.out.is_empty() {
            return Err("flags for the whole pattern must stand at its start".to_owned());
        }
        self.flags.ascii |= flags.contains('a');
        self.flags.multiline |= flags.contains('m');
        self.flags.verbose |= flags.contains('x');
        if !kept.is_empty() {
            self.push(&format!("(?{kept})"));
        }
        Ok(())
    }

    /// Translates an opening brace: a quantifier if the text looks like one, a literal brace otherwise.
    fn braces(&mut self) {
        let ahead: String =
            self.rest.clone().take_while(|next| next.is_ascii_digit() || *next == ',').collect();
        let closed = self.rest.clone().nth(ahead.len()) == Some('}');
        if !closed || ahead.is_empty() || ahead.matches(',').count() > 1 {
            return self.literal('{');
        }
        self.rest.nth(ahead.len());
        let (least, most) =
            ahead.split_once(',').map_or((ahead.as_str(), None), |(least, most)| (least, Some(most)));
        let least = if least.is_empty() { "0" } else { least };
        self.push(&match most {
            None => format!("{{{least}}}"),
            Some(most) => format!("{{{least},{most}}}"),
        });
    }
}

fn is_octal(digits: &str, next: char) -> bool {
    digits.chars().chain([next]).all(|digit| digit.is_digit(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected results are those of `re.fullmatch` in Python 3.11.
    #[test]
    fn patterns_match_as_in_python() {
        for (pattern, text, matches) in [
            ("[a-z]+", "abc", true),
            ("[a-z]+", "abc1", false),
            ("a|ab", "ab", true),
            (r"\d+", "\u{663}", true),
            (r"(?a)\d+", "\u{663}", false),
            (r"\w+", "e\u{301}", false),
            (r"\w+", "n\u{e9}e", true),
            (r"[\w&&a]+", "b&", true),
            ("[[a]", "[", true),
            ("[]a]+", "]a", true),
            ("[a-]+", "a-", true),
            ("[--/]+", "./-", true),
            (r"^[A-Z]+$", "AB", true),
            (r"a{,2}", "aa", true),
            (r"a{2", "a{2", true),
            (r"a{}", "a{}", true),
            (r"(a)\1", "aa", true),
            (r"(?P<x>a)(?P=x)", "aa", true),
            (r"(?=a)\w+", "ab", true),
            (r"\bab\b", "ab", true),
            (r"(?i)straSSE", "STRASSE", true),
            (r"(?x) a b # comment", "ab", true),
            (r"a(?#comment)b", "ab", true),
            (r"\x41\u0042\101", "ABA", true),
            (r"\s", "\x1c", true),
            (r"a\Z", "a", true),
            (r"[^\d\s]+", "ab", true),
            (r"(?i:a)B", "AB", true),
            (r".", "\n", false),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.matches(text), matches, "{pattern} {text:?}");
        }
        for pattern in ["(", "[a", r"\q", r"[\w-z]", "a**", r"\", "[z-a]", "x(?i)", r"\N{DIGIT ONE}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
