//! Bodies in chunks (`aws-chunked`), cut small before `s3s` reads them: it holds a chunk in memory as a whole, and some
//! clients send a whole object as one chunk. What it does not understand is refused here: `s3s` would read `10z` as 10
//! and the first eight digits of a longer size, and hold as much in memory as that says.

use std::mem;

use bytes::{Bytes, BytesMut};

/// Chunks up to this size are passed on as they are.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// The largest chunk with a signature of its own, which cannot be cut.
pub const SIGNED_BYTES_MAX: u64 = 16 << 20;
/// The longest line before a chunk.
const LINE_BYTES_MAX: usize = 1_024;

/// Why a body is not passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A chunk with a signature of its own is too large to be held.
    #[error("ChunkTooLarge: a signed chunk may have {SIGNED_BYTES_MAX} bytes at most")]
    TooLarge,
    /// It is not in chunks.
    #[error("the body is not in chunks: a size in hexadecimal digits, the bytes, and the ends of both lines")]
    Malformed,
}

/// Cuts the chunks of a body as it passes by.
#[derive(Debug, Default)]
pub struct Cutter(At);

/// Where in the body the next byte is.
#[derive(Debug)]
enum At {
    /// In the line before a chunk.
    Line(BytesMut),
    /// In a chunk that is passed on as it is.
    Whole(u64),
    /// In a chunk that is cut.
    Cut(u64),
    /// In the end of line behind a chunk, of which so much is to come.
    EndOfLine(&'static [u8]),
    /// Behind the last chunk.
    Rest,
}

impl Default for At {
    fn default() -> Self {
        Self::Line(BytesMut::new())
    }
}

impl Cutter {
    /// Takes the next bytes and appends what is to be passed on to `out`.
    ///
    /// # Errors
    /// [`Error`]; nothing more is to be fed then.
    pub fn feed(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.0 = match mem::replace(&mut self.0, At::Rest) {
                At::Line(line) => read_line(line, &mut bytes, out)?,
                At::Whole(left) => {
                    let piece = take(&mut bytes, left);
                    let left = left - piece.len() as u64;
                    out.push(piece);
                    if left == 0 { At::EndOfLine(b"\r\n") } else { At::Whole(left) }
                }
                At::Cut(left) => {
                    let piece = take(&mut bytes, left.min(CHUNK_BYTES));
                    let left = left - piece.len() as u64;
                    out.extend([format!("{:x}\r\n", piece.len()).into(), piece]);
                    if left == 0 {
                        At::EndOfLine(b"\r\n")
                    } else {
                        out.push(Bytes::from_static(b"\r\n"));
                        At::Cut(left)
                    }
                }
                At::EndOfLine(left) => {
                    let piece = take(&mut bytes, left.len() as u64);
                    let left = left.strip_prefix(&*piece).ok_or(Error::Malformed)?;
                    out.push(piece);
                    if left.is_empty() { At::default() } else { At::EndOfLine(left) }
                }
                At::Rest => {
                    out.push(mem::take(&mut bytes));
                    At::Rest
                }
            };
        }
        Ok(())
    }

    /// Says that there are no more bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the last chunk has not been there.
    pub fn finish(self) -> Result<(), Error> {
        if matches!(self.0, At::Rest) { Ok(()) } else { Err(Error::Malformed) }
    }
}

fn take(bytes: &mut Bytes, most: u64) -> Bytes {
    bytes.split_to(usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len())))
}

/// Reads on in the line before a chunk; at its end, decides what becomes of the chunk.
fn read_line(mut line: BytesMut, bytes: &mut Bytes, out: &mut Vec<Bytes>) -> Result<At, Error> {
    let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
    line.extend_from_slice(&bytes.split_to(end.unwrap_or(bytes.len())));
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::Malformed);
    }
    if end.is_none() {
        return Ok(At::Line(line));
    }
    let line = line.freeze();
    let (size, signed) = parse(&line).ok_or(Error::Malformed)?;
    if size > CHUNK_BYTES && !signed {
        return Ok(At::Cut(size));
    }
    out.push(line);
    match size {
        0 => Ok(At::Rest),
        size if size > SIGNED_BYTES_MAX => Err(Error::TooLarge),
        size => Ok(At::Whole(size)),
    }
}

/// The size of the chunk that a line announces, and whether it has a signature of its own.
fn parse(line: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let (size, extension) = text.split_once(';').map_or((text, None), |(size, rest)| (size, Some(rest)));
    let digits = size.len() <= 8 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = u64::from_str_radix(size, 16).ok().filter(|_| digits)?;
    Some((size, extension.is_some()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(body: &[u8], step: usize) -> Result<Vec<u8>, Error> {
        let (mut cutter, mut out) = (Cutter::default(), Vec::new());
        for piece in body.chunks(step) {
            cutter.feed(Bytes::copy_from_slice(piece), &mut out)?;
        }
        cutter.finish()?;
        Ok(out.concat())
    }

    /// The data of a body in chunks, and the size of the largest.
    fn decode(mut body: &[u8]) -> (Vec<u8>, u64) {
        let (mut data, mut largest) = (Vec::new(), 0);
        loop {
            let end = memchr::memchr(b'\n', body).unwrap() + 1;
            let (size, _) = parse(&body[..end]).unwrap();
            let (chunk, rest) = body[end..].split_at(size as usize);
            data.extend_from_slice(chunk);
            largest = largest.max(size);
            body = rest.strip_prefix(b"\r\n").unwrap();
            if size == 0 {
                return (data, largest);
            }
        }
    }

    #[test]
    fn small_chunks_and_trailers_pass_as_they_are() {
        let body = b"3;chunk-signature=ab\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for step in [1, 2, 7, 100] {
            assert_eq!(cut(body, step).unwrap(), body);
        }
    }

    #[test]
    fn large_chunks_are_cut_unless_they_are_signed() {
        let size = (CHUNK_BYTES * 3 + 5) as usize;
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let body = [format!("{size:x}\r\n").as_bytes(), &data, b"\r\n0\r\n\r\n"].concat();
        for step in [1_000_000, 4_096, body.len()] {
            let (found, largest) = decode(&cut(&body, step).unwrap());
            assert!(found == data && largest <= CHUNK_BYTES);
        }
        assert_eq!(cut(b"1000001;chunk-signature=ab\r\n", 9), Err(Error::TooLarge));
    }

    #[test]
    fn what_is_no_body_in_chunks_is_refused() {
        let large = [b"100001\r\n".as_slice(), &vec![0; 0x10_0001], b"xx0\r\n\r\n"].concat();
        let long = [b"3;".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        for bad in [
            b"-3\r\nabc\r\n0\r\n\r\n".as_slice(),
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3z\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b"",
            b"3\r\nabc\r\n",
            b"3\r\nabc\r\n0",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"100000000\r\nabc",
            b"ffffffffffffffff\r\nabc",
            &large,
            &long,
        ] {
            assert_eq!(
                cut(bad, 5),
                Err(Error::Malformed),
                "{:?}",
                String::from_utf8_lossy(&bad[..bad.len().min(40)])
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_is_read_with_a_panic(body in prop::collection::vec(any::<u8>(), 0..3_000), step in 1_usize..50) {
            if let Ok(out) = cut(&body, step) {
                prop_assert!(body.starts_with(&out));
            }
        }
    }
}
