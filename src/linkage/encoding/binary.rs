//! Binary uploads: raw encodings, one after the other, which is also the stored form of the matrix.

use std::io::{Read, Write};

use super::{Error, Rejection, Summary};

/// The number of bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Copies a body of exactly `records` × `encoding_bytes` bytes from `source` to `matrix`.
///
/// Reads at most one byte more. Both numbers are at least 1 (the caller has checked the headers).
///
/// # Errors
/// [`Rejection::TooShort`], [`Rejection::TooMuch`], or the error of the source or the sink.
pub fn read(
    mut source: impl Read,
    records: u32,
    encoding_bytes: u32,
    mut matrix: impl Write,
) -> Result<Summary, Error> {
    let expected = u64::from(records) * u64::from(encoding_bytes);
    let mut piece = vec![0; PIECE_BYTES];
    let mut found = 0;
    while found < expected {
        let wanted = (expected - found).min(PIECE_BYTES as u64) as usize;
        let read = read_some(&mut source, &mut piece[..wanted])?;
        if read == 0 {
            return Err(Rejection::TooShort { expected, found }.into());
        }
        matrix.write_all(&piece[..read]).map_err(Error::Sink)?;
        found += read as u64;
    }
    if read_some(&mut source, &mut piece[..1])? != 0 {
        return Err(Rejection::TooMuch { expected }.into());
    }
    Ok(Summary { records, encoding_bytes, has_blocks: false, entries: 0 })
}

/// Reads once into `buffer`, and again after an interrupt. Returns 0 at the end of the source.
pub(super) fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(Error::Source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: u64, records: u32, encoding_bytes: u32) -> Result<usize, Rejection> {
        let mut matrix = Vec::new();
        match read(std::io::repeat(7).take(bytes), records, encoding_bytes, &mut matrix) {
            Ok(_) => Ok(matrix.len()),
            Err(Error::Rejected(rejection)) => Err(rejection),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_length_is_exactly_what_was_announced() {
        assert_eq!(read_bytes(16, 2, 8), Ok(16));
        assert_eq!(read_bytes(300_000, 3, 100_000), Ok(300_000));
        assert_eq!(read_bytes(15, 2, 8), Err(Rejection::TooShort { expected: 16, found: 15 }));
        assert_eq!(read_bytes(17, 2, 8), Err(Rejection::TooMuch { expected: 16 }));
        assert_eq!(read_bytes(0, 1, 1), Err(Rejection::TooShort { expected: 1, found: 0 }));
    }
}
