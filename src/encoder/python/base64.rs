//! `base64.b64decode` with its defaults: characters outside the alphabet are skipped.

/// Decodes `text` as Python does, or returns the reason why Python fails.
///
/// # Errors
/// A message, if the padding is missing or the text is not ASCII.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    if !text.is_ascii() {
        return Err("base64 text must be ASCII");
    }
    let mut digits = Vec::with_capacity(text.len());
    let mut padding = 0;
    for byte in text.bytes() {
        match digit(byte) {
            Some(value) => {
                padding = 0;
                digits.push(value);
            }
            None if byte == b'=' && digits.len() % 4 >= 2 => {
                padding += 1;
                if digits.len() % 4 + padding >= 4 {
                    return Ok(bytes(&digits));
                }
            }
            None => {}
        }
    }
    if digits.len().is_multiple_of(4) { Ok(bytes(&digits)) } else { Err("base64 text lacks its padding") }
}

/// Returns whether `text` has characters that [`decode`] skips.
pub(crate) fn has_skipped(text: &str) -> bool {
    text.bytes().any(|byte| digit(byte).is_none() && byte != b'=')
}

fn digit(byte: u8) -> Option<u8> {
    let position = base64_simd::STANDARD.charset().iter().position(|known| *known == byte);
    position.map(|position| position as u8)
}

fn bytes(digits: &[u8]) -> Vec<u8> {
    let group = |group: &[u8]| {
        let word = group.iter().fold(0_u32, |word, digit| (word << 6) | u32::from(*digit));
        let word = word << (6 * (4 - group.len()));
        word.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected results are those of Python 3.11.
    #[test]
    fn decodes_as_python_does() {
        for (text, decoded) in [
            ("", Some(&b""[..])),
            ("AAEC", Some(&[0, 1, 2])),
            ("AA*EC\n", Some(&[0, 1, 2])),
            ("AAE=", Some(&[0, 1])),
            ("AA==", Some(&[0])),
            ("AA==AAEC", Some(&[0])),
            ("AA=AAEC", None),
            ("AAE", None),
            ("====", Some(b"")),
            ("A", None),
            ("AA=E=", Some(&[0, 1])),
        ] {
            assert_eq!(decode(text).ok().as_deref(), decoded, "{text:?}");
        }
    }
}
