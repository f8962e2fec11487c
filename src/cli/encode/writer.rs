//! Writes files of encodings: JSON for an upload, with or without blocks, or rows of bytes; compressed if the name says so.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64_simd::STANDARD;
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cli::destination::{Destination, ends_in};
use crate::cli::exit::Failure;
use crate::cli::record_blocks::Blocks;

/// Format of a file of encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// `{"clks": [...]}`, in base64; with --blocks, `{"clknblocks": [...]}`
    Json,
    /// Rows of bytes
    Bin,
}

/// The compression level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// Writes encodings.
pub(super) struct Writer {
    out: Coding,
    format: Format,
    encoding_bytes: usize,
    encodings: u64,
    text: Vec<u8>,
    rows: Option<Rows>,
}

/// The blocks of the rows, which include those without an encoding.
struct Rows {
    blocks: Blocks,
    /// The row that is encoded next, if it is.
    next: u64,
    /// The rows from `next` on that are known to have no encoding.
    left_out: VecDeque<u64>,
}

enum Coding {
    Plain(BufWriter<Destination>),
    Gzip(BufWriter<GzEncoder<Destination>>),
    Zstd(BufWriter<zstd::Encoder<'static, Destination>>),
}

impl Writer {
    /// Writes encodings of `encoding_bytes` bytes, with the blocks of their rows if there are any. The compression follows
    /// from the name, and so does the format if `format` is not given.
    pub(super) fn new(
        destination: Destination,
        path: Option<&Path>,
        format: Option<Format>,
        encoding_bytes: usize,
        blocks: Option<Blocks>,
    ) -> Result<Self, Failure> {
        let path = path.unwrap_or(Path::new(""));
        let (out, inner) = if ends_in(path, "gz") {
            let encoder = GzEncoder::new(destination, Compression::default());
            (Coding::Gzip(BufWriter::new(encoder)), path.with_extension(""))
        } else if ends_in(path, "zst") {
            let encoder =
                zstd::Encoder::new(destination, ZSTD_LEVEL).map_err(|error| Failure::output(&error))?;
            (Coding::Zstd(BufWriter::new(encoder)), path.with_extension(""))
        } else {
            (Coding::Plain(BufWriter::new(destination)), path.to_owned())
        };
        let named = if ends_in(&inner, "bin") { Format::Bin } else { Format::Json };
        let format = format.unwrap_or(named);
        let rows = blocks.map(|blocks| Rows { blocks, next: 0, left_out: VecDeque::new() });
        if format == Format::Bin && rows.is_some() {
            return Err(Failure::Usage("--blocks: rows of bytes have no blocks; write JSON".to_owned()));
        }
        Ok(Self { out, format, encoding_bytes, encodings: 0, text: Vec::new(), rows })
    }

    /// The beginning of the JSON. It is written with the first encoding, so that a file whose header is invalid leaves
    /// nothing on standard output.
    const fn begin(&self) -> &'static [u8] {
        if self.rows.is_some() { b"{\"clknblocks\": [" } else { b"{\"clks\": [" }
    }

    /// Writes encodings, one after the other.
    pub(super) fn write(&mut self, rows: &[u8]) -> io::Result<()> {
        if self.format == Format::Bin {
            self.encodings += (rows.len() / self.encoding_bytes) as u64;
            return self.out.write_all(rows);
        }
        self.text.clear();
        for row in rows.chunks_exact(self.encoding_bytes) {
            let begin = if self.encodings == 0 { self.begin() } else { b", " };
            self.text.extend_from_slice(begin);
            match &mut self.rows {
                None => quote(row, &mut self.text),
                Some(rows) => {
                    self.text.push(b'[');
                    quote(row, &mut self.text);
                    for name in rows.blocks_of_next() {
                        self.text.extend_from_slice(b", ");
                        serde_json::to_writer(&mut self.text, name)?;
                    }
                    self.text.push(b']');
                }
            }
            self.encodings += 1;
        }
        self.out.write_all(&self.text)
    }

    /// Records that this row, counted from 0, has no encoding. It is called before any later row is written.
    pub(super) fn leave_out(&mut self, row: u64) {
        if let Some(rows) = &mut self.rows {
            rows.left_out.push_back(row);
        }
    }

    /// Fails if a row after the last one has blocks.
    pub(super) fn check_blocks(&self, path: &Path, rows: u64) -> Result<(), Failure> {
        self.rows.as_ref().map_or(Ok(()), |known| known.blocks.check(path, rows, "rows"))
    }

    /// Completes the file. Returns the number of encodings in it, and the size of an encoding.
    pub(super) fn finish(mut self) -> Result<(u64, usize), Failure> {
        if self.format == Format::Json {
            let end = [if self.encodings == 0 { self.begin() } else { b"" }, b"]}\n"].concat();
            self.out.write_all(&end).map_err(|error| Failure::output(&error))?;
        }
        self.out.finish().map_err(|error| Failure::output(&error))?.finish()?;
        Ok((self.encodings, self.encoding_bytes))
    }
}

impl Rows {
    /// Returns the blocks of the next row with an encoding.
    fn blocks_of_next(&mut self) -> &[String] {
        while self.left_out.front() == Some(&self.next) {
            self.left_out.pop_front();
            self.next += 1;
        }
        self.next += 1;
        u32::try_from(self.next - 1).map_or(&[], |row| self.blocks.of(row))
    }
}

/// Appends an encoding in base64, in quotes.
fn quote(row: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    STANDARD.encode_append(row, text);
    text.push(b'"');
}

impl Coding {
    fn finish(self) -> io::Result<Destination> {
        match self {
            Self::Plain(out) => out.into_inner().map_err(io::IntoInnerError::into_error),
            Self::Gzip(out) => out.into_inner().map_err(io::IntoInnerError::into_error)?.finish(),
            Self::Zstd(out) => out.into_inner().map_err(io::IntoInnerError::into_error)?.finish(),
        }
    }
}

impl Write for Coding {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
