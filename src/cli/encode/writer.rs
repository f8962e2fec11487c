//! Encodings as files: JSON as an upload has it, or rows of bytes; compressed if the name says so.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64_simd::STANDARD;
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cli::destination::Destination;
use crate::cli::exit::Failure;

/// Form of a file of encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// `{"clks": [...]}`, in base64
    Json,
    /// Rows of bytes
    Bin,
}

/// Level of zstd.
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
    /// Writes encodings of `encoding_bytes` bytes; the format and the compression follow from the name, if `format`
    /// is not given.
    pub(super) fn new(
        destination: Destination,
        path: Option<&Path>,
        format: Option<Format>,
        encoding_bytes: usize,
    ) -> Result<Self, Failure> {
        let name = path
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let inner = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        let named = if inner.ends_with(".bin") { Format::Bin } else { Format::Json };
        let out = if name.ends_with(".gz") {
            Coding::Gzip(BufWriter::new(GzEncoder::new(destination, Compression::default())))
        } else if name.ends_with(".zst") {
            let encoder =
                zstd::Encoder::new(destination, ZSTD_LEVEL).map_err(|error| Failure::output(&error))?;
            Coding::Zstd(BufWriter::new(encoder))
        } else {
            Coding::Plain(BufWriter::new(destination))
        };
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

    /// Completes the file. Returns how many encodings are in it, and how many bytes each has.
    pub(super) fn finish(mut self) -> Result<(u64, usize), Failure> {
        if self.format == Format::Json {
            self.out.write_all(b"]}\n").map_err(|error| Failure::output(&error))?;
        }
        self.out.finish().map_err(|error| Failure::output(&error))?.finish()?;
        Ok((self.encodings, self.encoding_bytes))
    }
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
