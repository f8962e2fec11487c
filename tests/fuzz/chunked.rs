//! Fuzzes bodies in chunks (`aws-chunked`); a tilde stands for 64 KiB. Whatever the pieces in which a body arrives, a
//! valid one passes with the same content, in chunks that are small unless they are signed, and an invalid one is
//! refused. The decoder returns the content of the chunks. The corpus is replayed by `tests/appliance/fuzz.rs`.

use std::collections::HashSet;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use entityd::s3::chunked::{CHUNK_BYTES, Cutter, Decoder, SIGNED_BYTES_MAX};

static TILDE: [u8; 64 << 10] = [b'x'; 64 << 10];
/// The maximum number of bytes of the headers after the last chunk.
const TRAILER_BYTES_MAX: usize = 16 << 10;
/// The longest body that is tested: a longer one would show nothing new.
const BODY_BYTES_MAX: usize = 40 << 20;

/// The content of a body: its chunks, each with the text after its size, and the text after the last.
#[derive(Debug, Default, PartialEq)]
struct Said {
    chunks: Vec<(String, Vec<u8>)>,
    rest: Vec<u8>,
}

impl Said {
    /// Returns the number of headers after the last chunk; `None` if they are not a list of headers with distinct names.
    fn trailers(&self) -> Option<usize> {
        let text = std::str::from_utf8(&self.rest).ok()?.split_once("\r\n")?.1;
        let mut names = HashSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            value.trim().parse::<HeaderValue>().ok()?;
            if !names.insert(name.trim().parse::<HeaderName>().ok()?) {
                return None;
            }
        }
        (text.len() <= TRAILER_BYTES_MAX).then_some(names.len())
    }
}

/// Panics if a body is changed on its way.
pub(super) fn check(data: &[u8]) {
    let mut body = Vec::new();
    for byte in data {
        match byte {
            b'~' => body.extend_from_slice(&TILDE),
            byte => body.push(*byte),
        }
        if body.len() > BODY_BYTES_MAX {
            return;
        }
    }
    let said = read(&body).filter(|said| said.trailers().is_some());
    for step in [body.len().max(1), 4_093, 7] {
        if step == 7 && body.len() > 10_000 {
            continue;
        }
        let (mut cutter, mut out) = (Cutter::default(), Vec::new());
        let fed =
            body.chunks(step).try_for_each(|piece| cutter.feed(Bytes::copy_from_slice(piece), &mut out));
        let fed = fed.and_then(|()| cutter.finish());
        assert_eq!(fed.is_ok(), said.is_some(), "a valid body passes, an invalid one is refused");
        assert!(out.concat().len() <= body.len() * 8 + 100);
        if let (Ok(()), Some(said)) = (fed, &said) {
            let passed = read(&out.concat()).expect("a valid body stays valid");
            assert!(
                passed
                    .chunks
                    .iter()
                    .all(|(signature, chunk)| chunk.len() as u64 <= CHUNK_BYTES || !signature.is_empty())
            );
            assert_eq!(joined(&passed), joined(said));
        }
        check_decoded(&body, step);
    }
}

/// Panics if a decoder returns anything but the content of a body's chunks, signed or not.
fn check_decoded(body: &[u8], step: usize) {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    let fed = body.chunks(step).try_for_each(|piece| decoder.feed(Bytes::copy_from_slice(piece), &mut out));
    let decoded = fed.and_then(|()| decoder.finish());
    let Some(said) = read_with(body, usize::MAX) else {
        assert!(decoded.is_err(), "a body that is not in chunks is refused");
        return;
    };
    assert_eq!(decoded.as_ref().ok().map(HeaderMap::len), said.trailers());
    if decoded.is_ok() {
        let data: Vec<u8> = said.chunks.iter().flat_map(|(_, chunk)| chunk.iter().copied()).collect();
        assert_eq!(out.concat(), data);
    }
}

/// Returns the content with adjacent unsigned chunks joined.
fn joined(said: &Said) -> (Vec<(&str, Vec<u8>)>, &[u8]) {
    let mut joined: Vec<(&str, Vec<u8>)> = Vec::new();
    for (signature, chunk) in &said.chunks {
        match joined.last_mut() {
            Some((before, bytes)) if before.is_empty() && signature.is_empty() => {
                bytes.extend_from_slice(chunk);
            }
            _ => joined.push((signature, chunk.clone())),
        }
    }
    (joined, &said.rest)
}

/// Parses a body in one go; `None` if it is invalid.
fn read(body: &[u8]) -> Option<Said> {
    read_with(body, SIGNED_BYTES_MAX as usize)
}

/// Parses a body whose signed chunks may have up to this many bytes.
fn read_with(mut body: &[u8], signed_bytes_max: usize) -> Option<Said> {
    let mut said = Said::default();
    loop {
        let end = body.iter().position(|byte| *byte == b'\n')? + 1;
        let (line, rest) = body.split_at(end);
        let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n").filter(|_| end <= 1_024)?;
        let (size, extension) = line.split_at(line.find(';').unwrap_or(line.len()));
        if size.is_empty() || size.len() > 8 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            said.rest = [extension.as_bytes(), b"\r\n", rest].concat();
            return Some(said);
        }
        if !extension.is_empty() && size > signed_bytes_max || rest.len() < size {
            return None;
        }
        let (chunk, rest) = rest.split_at(size);
        said.chunks.push((extension.to_owned(), chunk.to_vec()));
        body = rest.strip_prefix(b"\r\n")?;
    }
}
