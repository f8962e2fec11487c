//! Decodes encodings from text: base64 of the standard alphabet, with padding.

use std::iter::repeat_n;

/// The text is not acceptable base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not valid base64")]
pub struct Invalid;

/// Decodes `text` and appends its bytes to `out`.
///
/// ASCII whitespace is skipped (line breaks every 76 characters are common), and so are the unused bits of the last
/// character. Any other character outside the alphabet, and missing or surplus padding, is an error, which leaves
/// `out` unchanged.
///
/// # Errors
/// [`Invalid`], without a quotation: error messages never contain an encoding.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    decode_strict(text, out).or_else(|_| decode_strict(&normalize(text), out))
}

/// Like [`decode`], but faster, and accepts the canonical form only.
///
/// # Errors
/// [`Invalid`]
pub(super) fn decode_strict(text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let before = out.len();
    base64_simd::STANDARD.decode_append(text, out).map_err(|_| {
        out.truncate(before);
        Invalid
    })
}

/// Returns the same text without whitespace, and with the unused bits of its last character cleared.
fn normalize(text: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = base64_simd::STANDARD.charset();
    let mut text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let unused_bits = padding * 2;
    text.truncate(text.len() - padding);
    if let Some(last) = text.last_mut()
        && let Some(value) = ALPHABET.iter().position(|known| known == last)
        && padding <= 2
    {
        *last = ALPHABET[value >> unused_bits << unused_bits];
    }
    text.extend(repeat_n(b'=', padding));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut out = vec![1];
        decode(text.as_bytes(), &mut out).ok()?;
        Some(out.split_off(1))
    }

    #[derive(serde::Deserialize)]
    struct Case {
        text: String,
        hex: Option<String>,
    }

    /// Unlike the reference, which skips everything outside the alphabet, this decoder accepts only whitespace.
    #[test]
    fn vectors_decode_as_the_reference_does_or_are_refused() {
        const REFUSED: [&str; 6] =
            ["AAEC*AwQF-BgcC", "AAECAwQFBgc==", "AAECAwQFBgc=AAEC", "====", "!!!", "-_-_"];
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/vectors/base64.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_value(file["cases"].clone()).unwrap();
        assert_eq!(cases.len(), 19);
        for Case { text, hex } in cases {
            let expected =
                hex.filter(|_| !REFUSED.contains(&text.as_str())).map(|hex| hex::decode(hex).unwrap());
            assert_eq!(decoded(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_failed_decoding_leaves_nothing_behind() {
        let mut out = vec![1, 2];
        assert_eq!(decode(&[b'A'; 171], &mut out), Err(Invalid));
        assert_eq!(decode(&[&[b'A'; 170][..], b"!A"].concat(), &mut out), Err(Invalid));
        assert_eq!(out, [1, 2]);
    }
}
