//! Translates regular expressions of Python's `re`: some classes, anchors, groups and escapes differ in Rust.

use std::iter::Peekable;
use std::str::Chars;

use fancy_regex::{CompileError, Regex};

use super::pattern_class::{self as class, Member};
use super::pattern_group::{Flags, Scopes};

/// An alternative that matches nothing. A group with it can be repeated, whatever else is in it.
const NOTHING: &str = "|[a&&b]";

/// A pattern that a whole text must match (`re.fullmatch`).
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern of Python.
    ///
    /// # Errors
    /// A message, if the pattern is invalid.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let mut translation = Translation {
            rest: pattern.chars().peekable(),
            out: String::new(),
            flags: Flags::default(),
            scopes: Scopes::default(),
            has_begun: false,
        };
        translation.all()?;
        Regex::new(&format!("\\A(?:{})\\z", translation.out)).map(Self).map_err(|error| rule(&error))
    }

    /// Returns whether the whole text matches. If matching exceeds the backtracking limit, the text does not match.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text).unwrap_or(false)
    }
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    flags: Flags,
    scopes: Scopes,
    /// Set after the flags for the whole pattern.
    has_begun: bool,
}

impl Translation<'_> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            let is_blank = self.flags.verbose && self.blank(character);
            if is_blank {
                // What follows a parenthesis and a blank is not the kind of the group.
                if self.out.ends_with('(') {
                    self.push("(?:)");
                }
                continue;
            }
            if character == '(' {
                self.group()?;
                continue;
            }
            self.has_begun = true;
            match character {
                '\\' => self.escape()?,
                '[' => self.out.push_str(&class::translate(&mut self.rest, self.flags)?),
                ')' => self.close()?,
                '^' => self.anchor("^")?,
                '$' if self.flags.multiline => self.anchor("$")?,
                '$' => self.anchor("(?=\\n?\\z)")?,
                '{' => self.braces(),
                ']' | '}' => self.literal(character),
                '|' => {
                    self.scopes.branch();
                    self.out.push('|');
                }
                _ => self.out.push(character),
            }
        }
        self.scopes.finish()
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn literal(&mut self, character: char) {
        self.out.push_str(&fancy_regex::escape(&character.to_string()));
    }

    /// Writes an anchor. It cannot be repeated.
    fn anchor(&mut self, text: &str) -> Result<(), String> {
        if self.is_repeated() {
            return Err("there is nothing to repeat after an anchor".to_owned());
        }
        self.push(text);
        Ok(())
    }

    /// Returns whether a verbose pattern ignores a character, and skips the comment that it begins.
    fn blank(&mut self, character: char) -> bool {
        if character == '#' {
            skip_comment(&mut self.rest);
        }
        is_blank(character)
    }

    /// Returns whether a quantifier follows.
    fn is_repeated(&self) -> bool {
        let mut ahead = self.rest.clone();
        while self.flags.verbose
            && let Some(blank) = ahead.next_if(|next| is_blank(*next))
        {
            if blank == '#' {
                skip_comment(&mut ahead);
            }
        }
        match ahead.next() {
            Some('{') => interval(&ahead).is_some(),
            next => matches!(next, Some('*' | '+' | '?')),
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let word = class::word(self.flags);
        match self.rest.peek().copied() {
            Some(anchor @ ('A' | 'Z' | 'b' | 'B')) => {
                self.rest.next();
                let is_bound = format!("(?:(?<=[{word}])(?![{word}])|(?<![{word}])(?=[{word}]))");
                self.anchor(&match anchor {
                    'A' => "\\A".to_owned(),
                    'Z' => "\\z".to_owned(),
                    'b' => is_bound,
                    // In an empty text there is neither a bound nor a place without one.
                    _ => format!("(?!{is_bound}|\\A\\z)"),
                })
            }
            Some('1'..='9') => self.reference(),
            _ => {
                match class::escape(&mut self.rest, self.flags)? {
                    Member::One(character) => self.literal(character),
                    Member::Set(set) => self.push(&format!("[{set}]")),
                }
                Ok(())
            }
        }
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
            self.refer(&digits)?;
        }
        Ok(())
    }

    /// Writes a back reference, in a group so that a following digit does not become part of the number.
    fn refer(&mut self, name: &str) -> Result<(), String> {
        let number = self.scopes.refer(name)?;
        self.push(&format!("(?:\\{number})"));
        Ok(())
    }

    /// Translates an opening parenthesis.
    fn group(&mut self) -> Result<(), String> {
        if matches!(self.rest.peek(), Some('*' | '+')) {
            return Err("there is nothing to repeat".to_owned());
        }
        if self.rest.next_if_eq(&'?').is_none() {
            self.has_begun = true;
            return self.open("(", Some(None));
        }
        if self.rest.next_if_eq(&'#').is_some() {
            return self.until(')').map(drop);
        }
        let is_flag = |next: &char| next.is_ascii_alphabetic() && *next != 'P' || *next == '-';
        if self.rest.peek().is_some_and(is_flag) {
            return self.flags();
        }
        self.has_begun = true;
        match self.rest.next() {
            Some(':') => self.open("(?:", None),
            Some('=') => self.open("(?=", None),
            Some('!') => self.open("(?!", None),
            Some('>') => self.open("(?>", None),
            Some('<') => {
                let start = if self.rest.next_if_eq(&'=').is_some() {
                    "(?<="
                } else if self.rest.next_if_eq(&'!').is_some() {
                    "(?<!"
                } else {
                    return Err("(?< is not the start of a group".to_owned());
                };
                self.open(start, None)?;
                self.scopes.look_behind();
                Ok(())
            }
            Some('P') if self.rest.next_if_eq(&'<').is_some() => {
                let name = self.until('>')?;
                self.open("(", Some(Some(name)))
            }
            Some('P') if self.rest.next_if_eq(&'=').is_some() => {
                let name = self.until(')')?;
                self.refer(&name)
            }
            Some('(') => {
                let name = self.until(')')?;
                let number = self.scopes.condition(&name)?;
                self.open(&format!("(?({number})"), None)
            }
            _ => Err("a group has an unknown kind".to_owned()),
        }
    }

    /// Opens a group; `number` is set if it captures, perhaps with a name.
    #[expect(clippy::option_option, reason = "a group that captures may have a name")]
    fn open(&mut self, start: &str, captures: Option<Option<String>>) -> Result<(), String> {
        self.scopes.open(self.out.len(), start.len(), self.flags, captures)?;
        self.push(start);
        Ok(())
    }

    /// Translates a closing parenthesis. Rust rejects the repetition of a look-around or of an empty group.
    fn close(&mut self) -> Result<(), String> {
        let scope = self.scopes.close()?;
        self.flags = scope.flags;
        let looks_behind = self.out[scope.at..].starts_with("(?<");
        if scope.has_branches && looks_behind {
            // Rust would look behind for branches of different widths, one after the other.
            self.out.insert_str(scope.at + scope.start_bytes, "(?=)(?:");
            self.push(")");
        }
        let (start, content) = self.out[scope.at..].split_at(scope.start_bytes);
        let looks = looks_behind || matches!(start, "(?=" | "(?!");
        let may_be_empty = start != "(" && (content.is_empty() || content.starts_with("(?"));
        if self.is_repeated() && looks {
            self.out.insert_str(scope.at, "(?:");
            self.push(")");
            self.push(NOTHING);
        } else if self.is_repeated() && may_be_empty {
            self.push(NOTHING);
        }
        self.push(")");
        Ok(())
    }

    /// Returns the text before the next `end`, and skips both.
    fn until(&mut self, end: char) -> Result<String, String> {
        let text: String = std::iter::from_fn(|| self.rest.next_if(|next| *next != end)).collect();
        self.rest.next().map(|_| text).ok_or_else(|| format!("{end} is missing"))
    }

    /// Translates flags: for the whole pattern, or for a group.
    fn flags(&mut self) -> Result<(), String> {
        let text: String =
            std::iter::from_fn(|| self.rest.next_if(|next| !matches!(next, ')' | ':'))).collect();
        let is_whole = match self.rest.next() {
            Some(')') => true,
            Some(_) => false,
            None => return Err("flags are not closed".to_owned()),
        };
        let (flags, kept) = self.flags.with(&text, is_whole)?;
        if is_whole {
            if self.has_begun {
                return Err("flags for the whole pattern must stand at its start".to_owned());
            }
            self.flags = flags;
            if !kept.is_empty() {
                self.push(&format!("(?{kept})"));
            }
            return Ok(());
        }
        self.has_begun = true;
        self.open(&format!("(?{kept}:"), None)?;
        self.flags = flags;
        Ok(())
    }

    /// Translates an opening brace: a quantifier if the text looks like one, a literal brace otherwise.
    fn braces(&mut self) {
        let Some(ahead) = interval(&self.rest) else { return self.literal('{') };
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

/// Returns the rule that a pattern breaks. A position would be one in the translated pattern.
fn rule(error: &fancy_regex::Error) -> String {
    match error {
        fancy_regex::Error::ParseError(_, rule) => rule.to_string(),
        fancy_regex::Error::CompileError(rule) => match **rule {
            CompileError::LookBehindNotConst | CompileError::VariableLookBehindRequiresFeature => {
                "a look-behind must have a fixed width".to_owned()
            }
            _ => rule.to_string(),
        },
        _ => error.to_string(),
    }
}

/// Returns whether a verbose pattern ignores a character, or the comment that it begins.
const fn is_blank(character: char) -> bool {
    matches!(character, '#' | ' ' | '\t'..='\r')
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    rest.by_ref().take_while(|next| *next != '\n').for_each(drop);
}

/// Returns the text of an interval whose opening brace has been read, without its closing brace.
fn interval(rest: &Peekable<Chars<'_>>) -> Option<String> {
    let ahead: String = rest.clone().take_while(|next| next.is_ascii_digit() || *next == ',').collect();
    let is_closed = rest.clone().nth(ahead.len()) == Some('}');
    (is_closed && !ahead.is_empty() && ahead.matches(',').count() <= 1).then_some(ahead)
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
            (r"\B", "", false),
            (r"a\Bb", "ab", true),
            (r"(?x)a\ b", "a b", true),
            (r"(?x:a \# b)c d", "a#bc d", true),
            (r"(?x)[ ]#(\n", " ", true),
            (r"(?i)(?x) a b", "AB", true),
            (r"(?m:^a$)\n(?:^b)?", "a\n", true),
            (r"(?a:\d)\d", "1\u{663}", true),
            (r"(?:$)?a(?=b)*b(?:)+", "ab", true),
            (r"(?:(?=.*\d).*)?", "ab1", true),
            (r"(?P<a>x)(?P<b>y)(?P=a)\2(?(b)z|w)", "xyxyz", true),
            (r"((a)(?(1)b|c))\1", "acac", true),
            (r"(?<=(?P<n>a))b", "ab", false),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.matches(text), matches, "{pattern} {text:?}");
        }
        for pattern in [
            "(",
            "[a",
            r"\q",
            r"[\w-z]",
            "a**",
            r"\",
            "[z-a]",
            "x(?i)",
            r"\N{DIGIT ONE}",
            r"(a\1)",
            r"(?P<a>x)(?P<a>y)",
            "(?P<1>x)",
            "(?<a>x)",
            "(?P=a)",
            "(?(1)a)",
            r"(?<=(a)\1)",
            "(?<=a*)b",
            "(?<!a|bc)",
            "^*",
            r"\b+",
            "(?x) $ *",
            "(*FAIL)",
            "(?~a)",
            "(?|a)",
            "(?R)",
            "(?x)( ?:a)",
            "a)",
            "(?#",
            "(?-i)a",
            "(?a-)",
            "(?i-i:a)",
            "(?au:a)",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
