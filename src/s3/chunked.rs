//! Bodies in chunks (`aws-chunked`). Signed chunks are split into small ones before `s3s` reads them: it holds a chunk
//! in memory, and some clients send a whole object as one chunk. Invalid chunk sizes are rejected here: `s3s` would
//! read `10z` as 10, and only the first eight digits of a size, and would allocate that much memory. Chunks in a body
//! that is signed as a whole, or not at all, are decoded here: `s3s` would store their headers as content.

use std::mem;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::{Bytes, BytesMut};

/// The size up to which chunks are passed on unchanged.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// The maximum size of a chunk with its own signature, which cannot be split.
pub const SIGNED_BYTES_MAX: u64 = 16 << 20;
/// The maximum number of bytes of the line before a chunk.
const LINE_BYTES_MAX: usize = 1_024;
/// The maximum number of bytes after the last chunk.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// The coding in `Content-Encoding` that announces chunks.
pub(super) const AWS_CHUNKED: &str = "aws-chunked";
/// The header with the number of bytes in the chunks.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// Returns true if the headers announce a body in chunks.
pub(super) fn are_announced(headers: &HeaderMap) -> bool {
    let codings =
        headers.get_all(header::CONTENT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let mut codings = codings.flat_map(|value| value.split(','));
    headers.contains_key(DECODED_LENGTH)
        || codings.any(|coding| coding.trim().eq_ignore_ascii_case(AWS_CHUNKED))
        || are_decoded_by_s3s(headers)
}

/// Returns true if each chunk is signed. `s3s` decodes only signed chunks.
pub(super) fn are_decoded_by_s3s(headers: &HeaderMap) -> bool {
    headers.get("x-amz-content-sha256").is_some_and(|hash| hash.as_bytes().starts_with(b"STREAMING-"))
}

/// Returns the decoded length, if the headers declare one.
///
/// # Errors
/// [`Error::Malformed`], if the declared length is not a number.
pub(super) fn decoded_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(said) = headers.get(DECODED_LENGTH) else { return Ok(None) };
    let said = said.to_str().unwrap_or_default();
    let digits = said.bytes().all(|byte| byte.is_ascii_digit());
    said.parse().ok().filter(|_| digits).map(Some).ok_or(Error::Malformed)
}

/// An error in a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A chunk with its own signature is larger than [`SIGNED_BYTES_MAX`].
    #[error("ChunkTooLarge: a signed chunk may have {SIGNED_BYTES_MAX} bytes at most")]
    TooLarge,
    /// A header after the last chunk occurs twice.
    #[error("a header after the last chunk is repeated")]
    Repeated,
    /// The body is not in chunks.
    #[error("the body is not in chunks: a size in hexadecimal digits, the bytes, and the ends of both lines")]
    Malformed,
}

/// Splits the chunks of a body while it arrives.
#[derive(Debug, Default)]
pub struct Cutter {
    frames: Frames,
    /// True if the current chunk is being split.
    cuts: bool,
    trailer: Trailer,
}

impl Cutter {
    /// Splits the next bytes of the body and appends the chunks to `out`.
    ///
    /// # Errors
    /// [`Error`]. This must not be called again after an error.
    pub fn feed(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Error> {
        let Self { frames, cuts, trailer } = self;
        frames.feed(bytes, &mut |found| {
            match found {
                Found::Line { size, signed: true, .. } if size > SIGNED_BYTES_MAX => {
                    return Err(Error::TooLarge);
                }
                Found::Line { line, size, signed } => {
                    *cuts = size > CHUNK_BYTES && !signed;
                    out.extend((!*cuts).then_some(line));
                }
                Found::Data(piece) if *cuts => write_small(piece, out),
                Found::EndOfLine(_) if *cuts => {}
                Found::Data(piece) | Found::EndOfLine(piece) => out.push(piece),
                Found::Rest(piece) => {
                    trailer.add(&piece)?;
                    out.push(piece);
                }
            }
            Ok(())
        })
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the last chunk is missing, or is not followed by a list of headers;
    /// [`Error::Repeated`] if two headers have the same name, since `s3s` would see only one of them.
    pub fn finish(self) -> Result<(), Error> {
        self.frames.finish()?;
        self.trailer.headers().map(drop)
    }
}

/// Appends a part of a large chunk to `out` as small chunks.
fn write_small(mut piece: Bytes, out: &mut Vec<Bytes>) {
    while !piece.is_empty() {
        let small = take(&mut piece, CHUNK_BYTES);
        out.extend([format!("{:x}\r\n", small.len()).into(), small, Bytes::from_static(b"\r\n")]);
    }
}

/// Decodes the chunks. Their signatures are ignored: the body was not signed that way.
#[derive(Debug, Default)]
pub struct Decoder {
    frames: Frames,
    trailer: Trailer,
}

impl Decoder {
    /// Decodes the next bytes of the body and appends the content to `out`.
    ///
    /// # Errors
    /// [`Error`]; nothing more may be decoded then.
    pub fn feed(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> Result<(), Error> {
        let trailer = &mut self.trailer;
        self.frames.feed(bytes, &mut |found| {
            match found {
                Found::Data(piece) => out.push(piece),
                Found::Rest(piece) => trailer.add(&piece)?,
                Found::Line { .. } | Found::EndOfLine(_) => {}
            }
            Ok(())
        })
    }

    /// Ends the body, and returns the headers after the last chunk.
    ///
    /// # Errors
    /// Like [`Cutter::finish`].
    pub fn finish(self) -> Result<HeaderMap, Error> {
        self.frames.finish()?;
        self.trailer.headers()
    }
}

/// The text after the last chunk.
#[derive(Debug, Default)]
struct Trailer(BytesMut);

impl Trailer {
    fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.0.len() + piece.len() > TRAILER_BYTES_MAX {
            return Err(Error::Malformed);
        }
        self.0.extend_from_slice(piece);
        Ok(())
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let text = std::str::from_utf8(&self.0).map_err(|_| Error::Malformed)?;
        let mut headers = HeaderMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = parse_header(line).ok_or(Error::Malformed)?;
            if headers.insert(name, value).is_some() {
                return Err(Error::Repeated);
            }
        }
        Ok(headers)
    }
}

fn parse_header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

/// A part of a body in chunks.
enum Found {
    /// The line before a chunk of this size.
    Line { line: Bytes, size: u64, signed: bool },
    /// Some bytes of a chunk.
    Data(Bytes),
    /// The line end after a chunk, or a part of it.
    EndOfLine(Bytes),
    /// Some of the text after the last chunk.
    Rest(Bytes),
}

/// Finds the chunks in a body as it arrives.
#[derive(Debug, Default)]
struct Frames(At);

/// The position of the next byte in the body.
#[derive(Debug)]
enum At {
    /// The position is in the line before a chunk.
    Line(BytesMut),
    /// The position is in a chunk. This number of its bytes is missing.
    Chunk(u64),
    /// The position is in the line end after a chunk. These bytes of it are missing.
    EndOfLine(&'static [u8]),
    /// The position is after the last chunk.
    Rest,
}

impl Default for At {
    fn default() -> Self {
        Self::Line(BytesMut::new())
    }
}

impl Frames {
    fn feed(
        &mut self,
        mut bytes: Bytes,
        found: &mut impl FnMut(Found) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.0 = match mem::replace(&mut self.0, At::Rest) {
                At::Line(line) => read_line(line, &mut bytes, found)?,
                At::Chunk(left) => {
                    let piece = take(&mut bytes, left);
                    let left = left - piece.len() as u64;
                    found(Found::Data(piece))?;
                    if left == 0 { At::EndOfLine(b"\r\n") } else { At::Chunk(left) }
                }
                At::EndOfLine(left) => {
                    let piece = take(&mut bytes, left.len() as u64);
                    let left = left.strip_prefix(&*piece).ok_or(Error::Malformed)?;
                    found(Found::EndOfLine(piece))?;
                    if left.is_empty() { At::default() } else { At::EndOfLine(left) }
                }
                At::Rest => {
                    found(Found::Rest(mem::take(&mut bytes)))?;
                    At::Rest
                }
            };
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        if matches!(self.0, At::Rest) { Ok(()) } else { Err(Error::Malformed) }
    }
}

fn take(bytes: &mut Bytes, most: u64) -> Bytes {
    bytes.split_to(usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len())))
}

/// Continues to read the line before a chunk.
fn read_line(
    mut line: BytesMut,
    bytes: &mut Bytes,
    found: &mut impl FnMut(Found) -> Result<(), Error>,
) -> Result<At, Error> {
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
    found(Found::Line { line, size, signed })?;
    Ok(if size == 0 { At::Rest } else { At::Chunk(size) })
}

/// Returns the size of the chunk after a line, and true if the chunk has its own signature.
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

    /// Returns the data of a body in chunks, and the size of the largest.
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
    fn an_invalid_chunked_body_is_rejected() {
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

    #[test]
    fn a_body_is_taken_out_of_its_chunks() {
        let body = b"3;chunk-signature=ab\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n";
        for step in [1, 2, 7, 100] {
            let (mut decoder, mut out) = (Decoder::default(), Vec::new());
            for piece in body.chunks(step) {
                decoder.feed(Bytes::copy_from_slice(piece), &mut out).unwrap();
            }
            assert_eq!(out.concat(), b"abcde");
            assert_eq!(decoder.finish().unwrap()["x-amz-checksum-crc32"], "AAAAAA==");
        }
    }

    #[test]
    fn a_header_after_the_chunks_that_is_repeated_is_rejected() {
        let sum = "x-amz-checksum-crc32:AAAAAA==\r\n";
        for second in [sum, "X-Amz-Checksum-CRC32: BBBBBB==\r\n"] {
            let body = format!("3\r\nabc\r\n0\r\n{sum}{second}\r\n");
            assert_eq!(cut(body.as_bytes(), 7), Err(Error::Repeated));
            let mut decoder = Decoder::default();
            decoder.feed(body.into(), &mut Vec::new()).unwrap();
            assert_eq!(decoder.finish(), Err(Error::Repeated));
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
