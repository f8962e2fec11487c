//! Double Metaphone, as computed by the Python package `metaphone` 0.6, which blocklib uses.
//!
//! Source: Philips (2000), "The Double Metaphone Search Algorithm", C/C++ Users Journal 18(6).

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use zeroize::{Zeroize, Zeroizing};

const VOWELS: &str = "AEIOUY";
/// Padding around a word, so that rules can look beyond its ends.
const BEFORE: &str = "--";
const AFTER: &str = "------";
/// The position of the first character.
const START: isize = 2;

/// The most bytes that decomposition or capitals make of a byte.
const EXPANSION: usize = 3;
/// The most letters that a rule adds to a code for a letter.
const LETTERS_MAX: usize = 2;

/// Calls `each` with the primary code of a text, then with the secondary code if it differs.
pub(super) fn codes(text: &str, mut each: impl FnMut(&str)) {
    let mut word = Word::new(text);
    word.skip_silent();
    while word.at <= word.end {
        let Some(step) = word.step() else {
            word.at += 1;
            continue;
        };
        let [first, second] = &mut word.codes;
        first.push_str(step.first);
        second.push_str(step.second.unwrap_or(step.first));
        word.at += step.length;
        word.last = step;
    }
    let [first, second] = &word.codes;
    each(first);
    if first != second {
        each(second);
    }
}

/// The letters that a rule adds to the codes, and the number of characters that it consumes.
#[derive(Clone, Copy)]
struct Step {
    first: &'static str,
    /// The letters of the secondary code, if they differ.
    second: Option<&'static str>,
    length: isize,
}

const fn both(first: &'static str, length: isize) -> Step {
    Step { first, second: None, length }
}

const fn each(first: &'static str, second: &'static str, length: isize) -> Step {
    Step { first, second: Some(second), length }
}

/// A word, the current position in it, and the codes so far.
struct Word {
    letters: Vec<char>,
    at: isize,
    /// The position of the last character.
    end: isize,
    is_slavo_germanic: bool,
    codes: [String; 2],
    /// The previous step. A character without a rule repeats it.
    last: Step,
}

impl Word {
    fn new(text: &str) -> Self {
        // Room for all, since growing would leave copies behind.
        let mut upper = Zeroizing::new(String::with_capacity(text.len() * EXPANSION * EXPANSION));
        if text.is_ascii() {
            upper.push_str(text);
            upper.make_ascii_uppercase();
        } else {
            let plain = text.chars().map(|letter| if matches!(letter, 'Ç' | 'ç') { 's' } else { letter });
            let plain = plain.nfd().filter(|letter| !is_nonspacing(*letter));
            upper.extend(plain.flat_map(char::to_uppercase));
        }
        let mut letters = Vec::with_capacity(BEFORE.len() + upper.len() + AFTER.len());
        letters.extend(BEFORE.chars().chain(upper.chars()).chain(AFTER.chars()));
        let code = || String::with_capacity(LETTERS_MAX * letters.len());
        let codes = [code(), code()];
        let end = START - 1 + (letters.len() - BEFORE.len() - AFTER.len()) as isize;
        let is_slavo_germanic = ["W", "K", "CZ", "WITZ"].iter().any(|sign| upper.contains(sign));
        Self { letters, at: START, end, is_slavo_germanic, codes, last: both("", 1) }
    }

    fn skip_silent(&mut self) {
        if self.starts(&["GN", "KN", "PN", "WR", "PS"]) {
            self.at += 1;
        }
        if self.starts(&["X"]) {
            self.codes.iter_mut().for_each(|code| code.push('S'));
            self.at += 1;
        }
    }

    /// Returns whether one of these texts is at a position.
    fn is_at(&self, position: isize, texts: &[&str]) -> bool {
        let rest = usize::try_from(position).ok().and_then(|position| self.letters.get(position..));
        let is_there = |text: &&str| {
            rest.is_some_and(|rest| {
                text.chars().count() <= rest.len() && text.chars().zip(rest).all(|(a, b)| a == *b)
            })
        };
        texts.iter().any(is_there)
    }

    /// Returns whether one of these texts is at a distance from the current position.
    fn has(&self, distance: isize, texts: &[&str]) -> bool {
        self.is_at(self.at + distance, texts)
    }

    /// Returns whether the word starts with one of these texts.
    fn starts(&self, texts: &[&str]) -> bool {
        self.is_at(START, texts)
    }

    /// Returns whether the character at a distance from the current position is one of these.
    fn one_of(&self, distance: isize, letters: &str) -> bool {
        let letter = usize::try_from(self.at + distance).ok().and_then(|at| self.letters.get(at));
        letter.is_some_and(|letter| letters.contains(*letter))
    }

    const fn is_first(&self) -> bool {
        self.at == START
    }

    const fn is_last(&self) -> bool {
        self.at == self.end
    }

    /// Returns the step at the current position; `None` for a space.
    fn step(&self) -> Option<Step> {
        let letter = self.letters[self.at as usize];
        // Some doubled letters count as one.
        let doubled = |code, letters| both(code, if self.one_of(1, letters) { 2 } else { 1 });
        Some(match letter {
            ' ' => return None,
            'A' | 'E' | 'I' | 'O' | 'U' | 'Y' => both(if self.is_first() { "A" } else { "" }, 1),
            'B' => doubled("P", "B"),
            'C' => self.c(),
            'D' if self.has(0, &["DG"]) => {
                if self.one_of(2, "IEY") {
                    both("J", 3)
                } else {
                    both("TK", 2)
                }
            }
            'D' => doubled("T", "TD"),
            'F' => doubled("F", "F"),
            'G' => self.g(),
            'H' if (self.is_first() || self.one_of(-1, VOWELS)) && self.one_of(1, VOWELS) => both("H", 2),
            'H' => both("", 1),
            'J' => self.j(),
            'K' | 'Q' => doubled("K", if letter == 'K' { "K" } else { "Q" }),
            'L' => self.l(),
            'M' => self.m(),
            'N' => doubled("N", "N"),
            'P' if self.one_of(1, "H") => both("F", 2),
            'P' => doubled("P", "PB"),
            'R' => self.r(),
            'S' => self.s(),
            'T' => self.t(),
            'V' => doubled("F", "V"),
            'W' => self.w(),
            'X' => self.x(),
            'Z' => self.z(),
            _ => self.last,
        })
    }

    fn is_dutch_or_german(&self) -> bool {
        self.starts(&["VAN ", "VON ", "SCH"])
    }

    fn c(&self) -> Step {
        let is_german = self.at > START + 1
            && !self.one_of(-2, VOWELS)
            && self.has(-1, &["ACH"])
            && !self.one_of(2, "I")
            && (!self.one_of(2, "E") || self.has(-2, &["BACHER", "MACHER"]));
        if is_german {
            both("K", 2)
        } else if self.is_first() && self.starts(&["CAESAR"]) {
            both("S", 2)
        } else if self.has(0, &["CHIA"]) {
            both("K", 2)
        } else if self.has(0, &["CH"]) {
            self.ch()
        } else if self.has(0, &["CZ"]) && !self.has(-2, &["WICZ"]) {
            each("S", "X", 2)
        } else if self.has(1, &["CIA"]) {
            both("X", 3)
        } else if self.has(0, &["CC"]) && !(self.at == START + 1 && self.starts(&["M"])) {
            if !self.one_of(2, "IEH") || self.has(2, &["HU"]) {
                both("K", 2)
            } else if self.at == START + 1 && self.starts(&["A"]) || self.has(-1, &["UCCEE", "UCCES"]) {
                both("KS", 3)
            } else {
                both("X", 3)
            }
        } else if self.has(0, &["CK", "CG", "CQ"]) {
            both("K", 2)
        } else if self.has(0, &["CIO", "CIE", "CIA"]) {
            each("S", "X", 2)
        } else if self.has(0, &["CI", "CE", "CY"]) {
            both("S", 2)
        } else if self.has(1, &[" C", " Q", " G"]) {
            both("K", 3)
        } else if self.one_of(1, "CKQ") && !self.has(1, &["CE", "CI"]) {
            both("K", 2)
        } else {
            both("K", 1)
        }
    }

    fn ch(&self) -> Step {
        if !self.is_first() && self.has(0, &["CHAE"]) {
            return each("K", "X", 2);
        }
        let is_greek = self.is_first()
            && self.has(1, &["HARAC", "HARIS", "HOR", "HYM", "HIA", "HEM"])
            && !self.starts(&["CHORE"]);
        let is_hard = self.is_dutch_or_german()
            || self.has(-2, &["ORCHES", "ARCHIT", "ORCHID"])
            || self.one_of(2, "TS")
            || (self.one_of(-1, "AOUE") || self.is_first()) && self.one_of(2, "LRNMBHFVW");
        if is_greek || is_hard {
            both("K", 2)
        } else if self.is_first() {
            both("X", 2)
        } else if self.starts(&["MC"]) {
            both("K", 2)
        } else {
            each("X", "K", 2)
        }
    }

    fn g(&self) -> Step {
        if self.one_of(1, "H") {
            return self.gh();
        }
        if self.one_of(1, "N") {
            return if self.at == START + 1 && self.one_of(-1, VOWELS) && !self.is_slavo_germanic {
                each("KN", "N", 2)
            } else if !self.has(2, &["EY"]) && !self.is_slavo_germanic {
                each("N", "KN", 2)
            } else {
                both("KN", 2)
            };
        }
        let soft = ["ES", "EP", "EB", "EL", "EY", "IB", "IL", "IN", "IE", "EI", "ER"];
        if self.has(1, &["LI"]) && !self.is_slavo_germanic {
            each("KL", "L", 2)
        } else if self.is_first() && (self.one_of(1, "Y") || self.has(1, &soft))
            || (self.has(1, &["ER"]) || self.one_of(1, "Y"))
                && !self.starts(&["DANGER", "RANGER", "MANGER"])
                && !self.one_of(-1, "EI")
                && !self.has(-1, &["RGY", "OGY"])
        {
            each("K", "J", 2)
        } else if self.one_of(1, "EIY") || self.has(-1, &["AGGI", "OGGI"]) {
            if self.is_dutch_or_german() || self.has(1, &["ET"]) {
                both("K", 2)
            } else if self.has(1, &["IER "]) {
                both("J", 2)
            } else {
                each("J", "K", 2)
            }
        } else {
            both("K", if self.one_of(1, "G") { 2 } else { 1 })
        }
    }

    fn gh(&self) -> Step {
        if !self.is_first() && !self.one_of(-1, VOWELS) {
            both("K", 2)
        } else if self.at < START + 3 {
            match self.one_of(2, "I") {
                _ if !self.is_first() => self.last,
                true => both("J", 2),
                false => both("K", 2),
            }
        } else if self.one_of(-2, "BHD")
            || self.one_of(-3, "BHD")
            || self.at > START + 3 && self.one_of(-4, "BH")
        {
            both("", 2)
        } else if self.one_of(-1, "U") && self.one_of(-3, "CGLRT") {
            both("F", 2)
        } else if self.one_of(-1, "I") {
            self.last
        } else {
            both("K", 2)
        }
    }

    fn j(&self) -> Step {
        let is_spanish = self.has(0, &["JOSE"]) || self.starts(&["SAN "]);
        let length = if self.one_of(1, "J") { 2 } else { 1 };
        if is_spanish {
            return if self.is_first() && self.one_of(4, " ") || self.starts(&["SAN "]) {
                both("H", length)
            } else {
                each("J", "H", length)
            };
        }
        if self.is_first() {
            each("J", "A", length)
        } else if self.one_of(-1, VOWELS) && !self.is_slavo_germanic && self.one_of(1, "AO") {
            each("J", "H", length)
        } else if self.is_last() {
            each("J", " ", length)
        } else if !self.one_of(1, "LTKSNMBZ") && !self.one_of(-1, "SKL") {
            both("J", length)
        } else {
            both("", length)
        }
    }

    fn l(&self) -> Step {
        if !self.one_of(1, "L") {
            return both("L", 1);
        }
        let is_spanish = self.at == self.end - 2 && self.has(-1, &["ILLO", "ILLA", "ALLE"])
            || (self.is_at(self.end - 1, &["AS", "OS"]) || self.is_at(self.end, &["A", "O"]))
                && self.has(-1, &["ALLE"]);
        if is_spanish { each("L", "", 2) } else { both("L", 2) }
    }

    fn m(&self) -> Step {
        let is_silent = self.has(1, &["UMB"]) && (self.at + 1 == self.end || self.has(2, &["ER"]));
        both("M", if is_silent || self.one_of(1, "M") { 2 } else { 1 })
    }

    fn r(&self) -> Step {
        let length = if self.one_of(1, "R") { 2 } else { 1 };
        let is_french = self.is_last()
            && !self.is_slavo_germanic
            && self.has(-2, &["IE"])
            && !self.has(-4, &["ME", "MA"]);
        if is_french { each("", "R", length) } else { both("R", length) }
    }

    fn s(&self) -> Step {
        if self.has(-1, &["ISL", "YSL"]) {
            both("", 1)
        } else if self.is_first() && self.starts(&["SUGAR"]) {
            each("X", "S", 1)
        } else if self.has(0, &["SH"]) {
            both(if self.has(1, &["HEIM", "HOEK", "HOLM", "HOLZ"]) { "S" } else { "X" }, 2)
        } else if self.has(0, &["SIO", "SIA"]) {
            if self.is_slavo_germanic { both("S", 3) } else { each("S", "X", 3) }
        } else if self.is_first() && self.one_of(1, "MNLW") || self.one_of(1, "Z") {
            each("S", "X", if self.one_of(1, "Z") { 2 } else { 1 })
        } else if self.has(0, &["SC"]) {
            self.sc()
        } else if self.is_last() && self.has(-2, &["AI", "OI"]) {
            each("", "S", 1)
        } else {
            both("S", if self.one_of(1, "SZ") { 2 } else { 1 })
        }
    }

    fn sc(&self) -> Step {
        if !self.one_of(2, "H") {
            return both(if self.one_of(2, "IEY") { "S" } else { "SK" }, 3);
        }
        if self.has(3, &["ER", "EN"]) {
            each("X", "SK", 3)
        } else if self.has(3, &["OO", "UY", "ED", "EM"]) {
            both("SK", 3)
        } else if self.is_first() && !self.one_of(3, VOWELS) && !self.one_of(3, "W") {
            each("X", "S", 3)
        } else {
            both("X", 3)
        }
    }

    fn t(&self) -> Step {
        if self.has(0, &["TION", "TIA", "TCH"]) {
            both("X", 3)
        } else if self.has(0, &["TH", "TTH"]) {
            if self.has(2, &["OM", "AM"]) || self.is_dutch_or_german() {
                both("T", 2)
            } else {
                each("0", "T", 2)
            }
        } else {
            both("T", if self.one_of(1, "TD") { 2 } else { 1 })
        }
    }

    fn w(&self) -> Step {
        if self.has(0, &["WR"]) {
            both("R", 2)
        } else if self.is_first() && self.one_of(1, VOWELS) {
            each("A", "F", 1)
        } else if self.is_first() && self.has(0, &["WH"]) {
            both("A", 1)
        } else if self.is_last() && self.one_of(-1, VOWELS)
            || self.has(-1, &["EWSKI", "EWSKY", "OWSKI", "OWSKY"])
            || self.starts(&["SCH"])
        {
            each("", "F", 1)
        } else if self.has(0, &["WICZ", "WITZ"]) {
            each("TS", "FX", 4)
        } else {
            both("", 1)
        }
    }

    fn x(&self) -> Step {
        let is_french = self.is_last() && (self.has(-3, &["IAU", "EAU"]) || self.has(-2, &["AU", "OU"]));
        both(if is_french { "" } else { "KS" }, if self.one_of(1, "CX") { 2 } else { 1 })
    }

    fn z(&self) -> Step {
        let length = if self.one_of(1, "ZH") { 2 } else { 1 };
        if self.one_of(1, "H") {
            both("J", length)
        } else if self.has(1, &["ZO", "ZI", "ZA"])
            || self.is_slavo_germanic && !self.is_first() && !self.one_of(-1, "T")
        {
            each("S", "TS", length)
        } else {
            both("S", length)
        }
    }
}

/// The word and its codes are personal data.
impl Drop for Word {
    fn drop(&mut self) {
        self.letters.zeroize();
        self.codes.zeroize();
    }
}

fn is_nonspacing(letter: char) -> bool {
    letter.general_category() == GeneralCategory::NonspacingMark
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected codes are those of the package.
    #[test]
    fn codes_are_those_of_the_package() {
        for (text, expected) in [
            ("Smith", "SM0XMT"),
            ("Schmidt", "XMTSMT"),
            ("", ""),
            ("Michael", "MKLMXL"),
            ("Çelik", "SLK"),
            ("Jose Núñez", "HSNNS"),
            ("a1b", "AAP"),
        ] {
            let mut found = String::new();
            codes(text, |code| found.push_str(code));
            assert_eq!(found, expected, "{text}");
        }
    }
}
