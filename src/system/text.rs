//! Text with a byte order mark, or in another encoding than UTF-8.

/// Text that is not in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is text in {0}; save it as UTF-8")]
pub struct Foreign(&'static str);

/// Returns the bytes without a UTF-8 byte order mark.
///
/// # Errors
/// [`Foreign`], if the bytes begin like text in UTF-16 or UTF-32, with or without a byte order mark.
pub fn unmarked(bytes: &[u8]) -> Result<&[u8], Foreign> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(rest),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [1..=255, 0, 0, 0, ..] | [0, 0, 0, 1..=255, ..] => {
            Err(Foreign("UTF-32"))
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=255, 0, 1..=255, 0, ..] | [0, 1..=255, 0, 1..=255, ..] => {
            Err(Foreign("UTF-16"))
        }
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_left_out_and_other_encodings_are_named() {
        assert_eq!(unmarked(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        for plain in [&b"{}"[..], b"", b"\xef\xbb", b"\0", b"\xc3\xa4"] {
            assert_eq!(unmarked(plain), Ok(plain));
        }
        for (bytes, name) in [
            (&b"\xff\xfe{\0}\0"[..], "UTF-16"),
            (b"\xfe\xff\0{\0}", "UTF-16"),
            (b"{\0}\0", "UTF-16"),
            (b"\0{\0}", "UTF-16"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0{", "UTF-32"),
            (b"{\0\0\0}\0\0\0", "UTF-32"),
        ] {
            assert_eq!(
                unmarked(bytes).unwrap_err().to_string(),
                format!("it is text in {name}; save it as UTF-8")
            );
        }
    }
}
