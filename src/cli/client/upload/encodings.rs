//! The file to upload, which is read and checked before anything is sent.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use base64_simd::STANDARD;
use linkage::encoding::entries::Version;
use linkage::encoding::json::{self, Expected, Received};
use linkage::encoding::{Error, Rejection, Summary, binary};

use crate::cli::exit::{Failure, OrFail};
use crate::cli::packed;
use crate::cli::record_blocks::Blocks;
use crate::telemetry::chain;

/// The maximum number of records a file may have.
const RECORDS_MAX: u32 = u32::MAX - 1;

/// Encodings that can be sent.
pub(super) struct Encodings {
    pub(super) summary: Summary,
    /// Rows of bytes.
    rows: File,
    /// The file, if it is JSON with blocks.
    json: Option<File>,
}

/// The body of a request: a file at its beginning, and its length.
pub(super) struct Body {
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl Encodings {
    /// Reads the file at `path`, which may be compressed. Rows of bytes have `encoding_bytes` bytes each.
    pub(super) fn read(path: &Path, encoding_bytes: Option<u32>) -> Result<Self, Failure> {
        let unpacked = packed::open(path)?;
        let explain = |error: &Error| {
            let text = format!("{}: {}", path.display(), chain(error));
            match error {
                Error::Rejected(_) => Failure::Input(text),
                Error::Source(_) | Error::Sink(_) => Failure::Failed(text),
            }
        };
        if packed::holds_rows(path) {
            let summary = size(path, &unpacked, encoding_bytes)?;
            let rows = unpacked.try_clone().or_fail()?;
            let read = binary::read(&unpacked, summary.records, summary.encoding_bytes, io::sink());
            read.map_err(|error| explain(&error))?;
            return Ok(Self { summary, rows, json: None });
        }
        let attempt = |uses_blocking| -> Result<(Received, File), Error> {
            (&unpacked).rewind().map_err(Error::Source)?;
            let mut rows = BufWriter::new(tempfile::tempfile().map_err(Error::Sink)?);
            let expected = Expected { uses_blocking, records_max: RECORDS_MAX };
            let received =
                json::upload(BufReader::new(&unpacked), expected, &mut rows, io::sink(), Version::Numbered)?;
            let rows = rows.into_inner().map_err(|error| Error::Sink(error.into_error()))?;
            Ok((received, rows))
        };
        let (received, rows) = match attempt(false) {
            // The file turned out to have blocks.
            Err(Error::Rejected(Rejection::BlocksUnwanted { .. })) => attempt(true),
            read => read,
        }
        .map_err(|error| explain(&error))?;
        let Received::Inline(summary) = received else {
            let problem = "it names files in an object store; give the encodings themselves";
            return Err(Failure::Input(format!("{}: {problem}", path.display())));
        };
        Ok(Self { summary, rows, json: summary.has_blocks.then_some(unpacked) })
    }

    /// Returns the rows of bytes.
    pub(super) fn rows(&self) -> Result<Body, Failure> {
        body(&self.rows)
    }

    /// Returns the encodings as JSON, with these blocks or with the blocks in the file.
    pub(super) fn json(&self, blocks: Option<&Blocks>) -> Result<Body, Failure> {
        match (&self.json, blocks) {
            (Some(file), _) => body(file),
            (None, blocks) => self.write_json(blocks).or_fail().and_then(|file| body(&file)),
        }
    }

    fn write_json(&self, blocks: Option<&Blocks>) -> io::Result<File> {
        let mut rows = BufReader::new(self.rows.try_clone()?);
        rows.rewind()?;
        let mut out = BufWriter::new(tempfile::tempfile()?);
        out.write_all(if blocks.is_some() { b"{\"clknblocks\":[" } else { b"{\"clks\":[" })?;
        let mut row = vec![0; self.summary.encoding_bytes as usize];
        for record in 0..self.summary.records {
            rows.read_exact(&mut row)?;
            let comma = if record == 0 { "" } else { "," };
            let text = STANDARD.encode_to_string(&row);
            match blocks {
                None => write!(out, "{comma}\"{text}\"")?,
                Some(blocks) => {
                    write!(out, "{comma}[\"{text}\"")?;
                    for name in blocks.of(record) {
                        write!(out, ",{}", serde_json::to_string(name).map_err(io::Error::from)?)?;
                    }
                    out.write_all(b"]")?;
                }
            }
        }
        out.write_all(b"]}")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Returns the blocks as a file for the object store: every record is listed.
pub(super) fn blocks_file(blocks: &Blocks, records: u32) -> Result<Body, Failure> {
    let write = || -> io::Result<File> {
        let mut out = BufWriter::new(tempfile::tempfile()?);
        out.write_all(b"{\"blocks\":{")?;
        for record in 0..records {
            let comma = if record == 0 { "" } else { "," };
            let names = serde_json::to_string(blocks.of(record)).map_err(io::Error::from)?;
            write!(out, "{comma}\"{record}\":{names}")?;
        }
        out.write_all(b"}}")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    write().or_fail().and_then(|file| body(&file))
}

fn body(file: &File) -> Result<Body, Failure> {
    let mut file = file.try_clone().or_fail()?;
    file.rewind().or_fail()?;
    let bytes = file.metadata().or_fail()?.len();
    Ok(Body { file, bytes })
}

/// Returns the number of rows of bytes in a file, and their size.
fn size(path: &Path, file: &File, encoding_bytes: Option<u32>) -> Result<Summary, Failure> {
    let encoding_bytes = encoding_bytes.ok_or_else(|| {
        Failure::Usage(format!(
            "{}: give the size of an encoding in this file with --encoding-bytes",
            path.display()
        ))
    })?;
    let bytes = file.metadata().or_fail()?.len();
    let records =
        u32::try_from(bytes / u64::from(encoding_bytes)).ok().filter(|records| *records <= RECORDS_MAX);
    let records = records
        .filter(|records| *records > 0 && bytes.is_multiple_of(u64::from(encoding_bytes)))
        .ok_or_else(|| {
        Failure::Input(format!(
            "{}: has {bytes} bytes, which is not the size of 1 to {RECORDS_MAX} encodings of {encoding_bytes} bytes",
            path.display()
        ))
    })?;
    Ok(Summary { records, encoding_bytes, has_blocks: false, entries: 0 })
}
