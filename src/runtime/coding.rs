//! Decodes the content codings of `Content-Encoding` in a stream. Memory use does not depend on the decoded size, which
//! the reader must limit.

use std::fmt;
use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead};
use tokio_util::io::{ReaderStream, StreamReader};

/// The maximum number of codings that may be applied to a body.
const CODINGS_MAX: usize = 3;
/// The size of the chunks of decoded bytes.
const PIECE_BYTES: usize = 64 << 10;
/// The maximum window of zstd, as a power of two: 8 MiB, which RFC 9659 sets as the limit for senders.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Codings that do not change the content. The last one is a transfer format, which some stores return as a coding.
const NONE: [&str; 3] = ["", "identity", "aws-chunked"];

/// A supported coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, RFC 1952.
    Gzip,
    /// `deflate`: zlib, RFC 1950, or bare deflate, which some senders use.
    Deflate,
    /// `zstd`, RFC 8878.
    Zstd,
}

/// The error for an unsupported coding, or for too many codings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content coding `{0}` is not supported: send gzip, deflate or zstd, or the plain content")]
pub struct UnknownCoding(String);

/// The error for truncated bytes, or bytes that are not in the declared coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content is not complete {0}, as Content-Encoding says")]
pub struct Undecodable(Coding);

impl Undecodable {
    /// Returns the decoding error that caused an I/O error, if there is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        })
    }
}

/// Returns the codings that the lines of a header name, in the order in which they were applied.
///
/// # Errors
/// [`UnknownCoding`], for the first unknown coding.
pub fn named<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Coding>, UnknownCoding> {
    let mut codings = Vec::new();
    for name in lines.into_iter().flat_map(|line| line.split(',')).map(str::trim) {
        let lower = name.to_ascii_lowercase();
        let coding = match lower.as_str() {
            none if NONE.contains(&none) => continue,
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        };
        let coding = coding.filter(|_| codings.len() < CODINGS_MAX);
        codings.push(coding.ok_or_else(|| UnknownCoding(lower.chars().take(40).collect()))?);
    }
    Ok(codings)
}

/// Decodes the bytes of `source`. An [`io::Error`] wraps errors of the source and decoding errors, which are
/// [`Undecodable`].
pub fn decode<S, E>(source: S, codings: &[Coding]) -> BoxStream<'static, io::Result<Bytes>>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let source = source.map_err(|error| io::Error::other(Source(error.into()))).boxed();
    codings.iter().rev().fold(source, |source, coding| take_off(source, *coding))
}

/// An error of the source, in contrast to one of a decoder.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Source(Box<dyn std::error::Error + Send + Sync>);

fn take_off(
    source: BoxStream<'static, io::Result<Bytes>>,
    coding: Coding,
) -> BoxStream<'static, io::Result<Bytes>> {
    let begun = async move {
        let mut source = StreamReader::new(source);
        // The first bytes determine the decoder.
        let head = source.fill_buf().await?;
        let is_zlib = is_zlib(head);
        let decoder = decoder(source, coding, is_zlib);
        Ok::<_, io::Error>(ReaderStream::with_capacity(decoder, PIECE_BYTES))
    };
    stream::once(begun).try_flatten().map_err(move |error| explain(error, coding)).boxed()
}

fn decoder(
    source: impl AsyncBufRead + Send + 'static,
    coding: Coding,
    is_zlib: bool,
) -> Pin<Box<dyn AsyncRead + Send>> {
    /// Makes a decoder that decodes all members of a stream, not only the first.
    macro_rules! whole {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Box::pin(decoder)
        }};
    }
    match coding {
        Coding::Gzip => whole!(GzipDecoder::new(source)),
        Coding::Deflate if is_zlib => whole!(ZlibDecoder::new(source)),
        Coding::Deflate => whole!(DeflateDecoder::new(source)),
        Coding::Zstd => {
            let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)];
            whole!(ZstdDecoder::with_params(source, &window))
        }
    }
}

/// Returns true if the bytes begin with a zlib header.
fn is_zlib(head: &[u8]) -> bool {
    match head {
        [method, flags, ..] => method & 0x0F == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0,
        [method] => method & 0x0F == 8,
        [] => true,
    }
}

fn explain(error: io::Error, coding: Coding) -> io::Error {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<Source>() || inner.is::<Undecodable>()) {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidData, Undecodable(coding))
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::write::{DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use tokio::io::AsyncWriteExt;

    use super::*;

    macro_rules! encoded {
        ($encoder:ident, $text:expr) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all($text).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }

    async fn decoded(bytes: &[u8], codings: &[Coding]) -> Result<Vec<u8>, String> {
        for step in [1, 7, bytes.len().max(1)] {
            let pieces: Vec<_> =
                bytes.chunks(step).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
            let found: Result<Vec<Bytes>, _> = decode(stream::iter(pieces), codings).try_collect().await;
            let found = found.map_err(|error| error.to_string())?.concat();
            if step == bytes.len().max(1) {
                return Ok(found);
            }
        }
        unreachable!("the last step is the whole")
    }

    #[test]
    fn codings_have_names() {
        use Coding::{Deflate, Gzip, Zstd};
        assert_eq!(named(["gzip, Deflate", "zstd"]), Ok(vec![Gzip, Deflate, Zstd]));
        assert_eq!(named(["X-GZIP,identity, ,aws-chunked"]), Ok(vec![Gzip]));
        assert_eq!(named(["br"]).unwrap_err().0, "br");
        assert_eq!(named(["gzip,gzip,gzip,gzip"]).unwrap_err().0, "gzip");
    }

    #[tokio::test]
    async fn content_codings_are_removed_in_reverse_order() {
        let text = b"encodings ".repeat(50_000);
        let (gzip, zstd) = (encoded!(GzipEncoder, &text), encoded!(ZstdEncoder, &text));
        assert_eq!(decoded(&gzip, &[Coding::Gzip]).await.unwrap(), text);
        assert_eq!(decoded(&zstd, &[Coding::Zstd]).await.unwrap(), text);
        assert_eq!(decoded(&encoded!(ZlibEncoder, &text), &[Coding::Deflate]).await.unwrap(), text);
        assert_eq!(decoded(&encoded!(DeflateEncoder, &text), &[Coding::Deflate]).await.unwrap(), text);
        let both = encoded!(ZstdEncoder, &gzip);
        assert_eq!(decoded(&both, &[Coding::Gzip, Coding::Zstd]).await.unwrap(), text);
        let twice = [gzip.clone(), gzip].concat();
        assert_eq!(decoded(&twice, &[Coding::Gzip]).await.unwrap(), [text.clone(), text].concat());
    }

    #[tokio::test]
    async fn data_that_does_not_match_its_coding_is_rejected_by_name() {
        let gzip = encoded!(GzipEncoder, b"some text");
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let why = decoded(b"{\"clks\": []}", &[coding]).await.unwrap_err();
            assert_eq!(why, Undecodable(coding).to_string());
        }
        for broken in [&gzip[..gzip.len() - 1], &[gzip.as_slice(), b"x"].concat(), b""] {
            assert_eq!(
                decoded(broken, &[Coding::Gzip]).await.unwrap_err(),
                Undecodable(Coding::Gzip).to_string()
            );
        }
    }

    #[tokio::test]
    async fn a_source_that_fails_is_heard() {
        let mut gzip = encoded!(GzipEncoder, b"some text");
        gzip.truncate(12);
        let source = [Ok(Bytes::from(gzip)), Err(io::Error::other("reset"))];
        let found: Result<Vec<Bytes>, _> = decode(stream::iter(source), &[Coding::Gzip]).try_collect().await;
        assert_eq!(found.unwrap_err().to_string(), "reset");
    }
}
