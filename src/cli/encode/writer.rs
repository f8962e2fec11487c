//! Writes files of encodings: JSON for an upload, or rows of bytes; compressed if the name says so.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64_simd::STANDARD;
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cli::destination::Destination;
use crate::cli::exit::Failure;

/// Format of a file of encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// `{"clks": [...]}`, in base64
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
}

enum Coding {
    Plain(BufWriter<Destination>),
    Gzip(BufWriter<GzEncoder<Destination>>),
    Zstd(BufWriter<zstd::Encoder<'static, Destination>>),
}

impl Writer {
    /// Writes encodings of `encoding_bytes` bytes. The compression follows from the name, and so does the format if
    /// `format` is not given.
    pub(super) fn new(
        destination: Destination,
        path: Option<&Path>,
        format: Option<Format>,
        encoding_bytes: usize,
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
        let mut writer =
            Self { out, format: format.unwrap_or(named), encoding_bytes, encodings: 0, text: Vec::new() };
        if writer.format == Format::Json {
            writer.out.write_all(b"{\"clks\": [").map_err(|error| Failure::output(&error))?;
        }
        Ok(writer)
    }

    /// Writes encodings, one after the other.
    pub(super) fn write(&mut self, rows: &[u8]) -> io::Result<()> {
        if self.format == Format::Bin {
            self.encodings += (rows.len() / self.encoding_bytes) as u64;
            return self.out.write_all(rows);
        }
        self.text.clear();
        for row in rows.chunks_exact(self.encoding_bytes) {
            self.text.extend_from_slice(if self.encodings == 0 { b"\"" } else { b", \"" });
            STANDARD.encode_append(row, &mut self.text);
            self.text.push(b'"');
            self.encodings += 1;
        }
        self.out.write_all(&self.text)
    }

    /// Completes the file. Returns the number of encodings in it, and the size of an encoding.
    pub(super) fn finish(mut self) -> Result<(u64, usize), Failure> {
        if self.format == Format::Json {
            self.out.write_all(b"]}\n").map_err(|error| Failure::output(&error))?;
        }
        self.out.finish().map_err(|error| Failure::output(&error))?.finish()?;
        Ok((self.encodings, self.encoding_bytes))
    }
}

/// Returns whether `ending` is the extension of a file.
fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
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
