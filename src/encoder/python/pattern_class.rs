//! Bracketed classes and escapes of Python's regular expressions.

use std::iter::Peekable;
use std::str::Chars;

use super::SPACE_CLASS;
use super::pattern_group::Flags;

/// An escape: a character, or the inside of a class.
pub(super) enum Member {
    One(char),
    Set(String),
}

/// The word characters (`\w`), as a class without its brackets.
pub(super) const fn word(flags: Flags) -> &'static str {
    if flags.ascii { "a-zA-Z0-9_" } else { r"\p{L}\p{N}_" }
}

/// Reads an escape after its backslash.
pub(super) fn escape(rest: &mut Peekable<Chars<'_>>, flags: Flags) -> Result<Member, String> {
    let space = if flags.ascii { r"\t-\r\x20" } else { SPACE_CLASS };
    let digit = if flags.ascii { "0-9" } else { r"\p{Nd}" };
    let character = rest.next().ok_or("the pattern ends with a backslash")?;
    Ok(match character {
        'w' => Member::Set(word(flags).to_owned()),
        'W' => Member::Set(format!("[^{}]", word(flags))),
        'd' => Member::Set(digit.to_owned()),
        'D' => Member::Set(format!("[^{digit}]")),
        's' => Member::Set(space.to_owned()),
        'S' => Member::Set(format!("[^{space}]")),
        'a' => Member::One('\x07'),
        'f' => Member::One('\x0c'),
        'n' => Member::One('\n'),
        'r' => Member::One('\r'),
        't' => Member::One('\t'),
        'v' => Member::One('\x0b'),
        'x' => Member::One(hexadecimal(rest, 2)?),
        'u' => Member::One(hexadecimal(rest, 4)?),
        'U' => Member::One(hexadecimal(rest, 8)?),
        '0'..='7' => Member::One(octal(character, rest)),
        _ if character.is_ascii_alphanumeric() => {
            return Err(format!("\\{character} is not an escape of a regular expression"));
        }
        _ => Member::One(character),
    })
}

fn hexadecimal(rest: &mut Peekable<Chars<'_>>, digits: usize) -> Result<char, String> {
    let text: String = (0..digits).map_while(|_| rest.next_if(char::is_ascii_hexdigit)).collect();
    let code = if text.len() == digits { u32::from_str_radix(&text, 16).ok() } else { None };
    code.and_then(char::from_u32)
        .ok_or_else(|| format!("an escape needs {digits} hexadecimal digits of a character"))
}

fn octal(first: char, rest: &mut Peekable<Chars<'_>>) -> char {
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = rest.next_if(|next| next.is_digit(8)) else { break };
        code = code * 8 + digit.to_digit(8).unwrap_or(0);
    }
    char::from(code as u8)
}

/// Translates a class; its opening bracket has been read.
pub(super) fn translate(rest: &mut Peekable<Chars<'_>>, flags: Flags) -> Result<String, String> {
    let mut class = String::from("[");
    if rest.next_if_eq(&'^').is_some() {
        class.push('^');
    }
    let mut is_first = true;
    loop {
        let character = rest.next().ok_or("a class has no closing bracket")?;
        if character == ']' && !is_first {
            break;
        }
        is_first = false;
        let start = member(character, rest, flags)?;
        let is_range = rest.peek() == Some(&'-') && rest.clone().nth(1).is_some_and(|next| next != ']');
        if is_range {
            rest.next();
            let end = rest.next().ok_or("a class has no closing bracket")?;
            class.push_str(&range(&start, &member(end, rest, flags)?)?);
        } else {
            match start {
                Member::One(character) => class.push_str(&code(character)),
                Member::Set(set) => class.push_str(&set),
            }
        }
    }
    class.push(']');
    Ok(class)
}

fn member(character: char, rest: &mut Peekable<Chars<'_>>, flags: Flags) -> Result<Member, String> {
    match character {
        '\\' if rest.next_if_eq(&'b').is_some() => Ok(Member::One('\x08')),
        '\\' => escape(rest, flags),
        _ => Ok(Member::One(character)),
    }
}

fn range(start: &Member, end: &Member) -> Result<String, String> {
    match (start, end) {
        (Member::One(start), Member::One(end)) if start <= end => {
            Ok(format!("{}-{}", code(*start), code(*end)))
        }
        _ => Err("a class has an invalid range".to_owned()),
    }
}

fn code(character: char) -> String {
    format!("\\x{{{:x}}}", u32::from(character))
}
