//! The file to upload, which is read and checked before anything is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use base64_simd::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::exit::{Failure, OrFail};
use crate::cli::packed;
use crate::cli::table::cannot_read;
use crate::linkage::encoding::json::{self, Expected, Received};
use crate::linkage::encoding::{Error, Rejection, Summary, binary};
use crate::system::permission::explained;
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

/// The blocks of each record.
pub(super) struct Blocks(BTreeMap<u32, Vec<String>>);

impl Encodings {
    /// Reads the file at `path`, which may be compressed. Rows of bytes have `encoding_bytes` bytes each.
    pub(super) fn read(path: &Path, encoding_bytes: Option<u32>) -> Result<Self, Failure> {
        let unpacked = open(path)?;
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
            let received = json::upload(BufReader::new(&unpacked), expected, &mut rows, io::sink())?;
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

impl Blocks {
    /// Reads blocks as `entityd block` and anonlink-client write them; a record that is not listed is in no block.
    pub(super) fn read(path: &Path, records: u32) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct File {
            blocks: BTreeMap<String, Vec<Value>>,
        }
        let refused = |problem: String| Failure::Input(format!("--blocks {}: {problem}", path.display()));
        let read: File = serde_json::from_reader(BufReader::new(open(path)?)).map_err(|error| {
            // The parser's message may quote a block.
            let (line, column) = (error.line(), error.column());
            refused(format!(
                "line {line}, column {column}: this is not JSON of the form {{\"blocks\": {{\"0\": [...]}}}}"
            ))
        })?;
        let mut blocks = BTreeMap::new();
        for (key, names) in read.blocks {
            let record = key.parse().ok().filter(|record| *record < records);
            let record = record.ok_or_else(|| {
                refused(format!(
                    "`blocks` has a record that does not exist; the {records} encodings are numbered from 0"
                ))
            })?;
            let names = names.into_iter().map(|name| match name {
                Value::String(name) => Ok(name),
                Value::Number(name) => Ok(name.to_string()),
                _ => Err(refused(format!(
                    "`blocks`: record {record} has a block that is neither a string nor a number"
                ))),
            });
            blocks.insert(record, names.collect::<Result<_, _>>()?);
        }
        Ok(Self(blocks))
    }

    /// Returns the blocks as a file for the object store: every record is listed.
    pub(super) fn file(&self, records: u32) -> Result<Body, Failure> {
        let write = || -> io::Result<File> {
            let mut out = BufWriter::new(tempfile::tempfile()?);
            out.write_all(b"{\"blocks\":{")?;
            for record in 0..records {
                let comma = if record == 0 { "" } else { "," };
                let names = serde_json::to_string(self.of(record)).map_err(io::Error::from)?;
                write!(out, "{comma}\"{record}\":{names}")?;
            }
            out.write_all(b"}}")?;
            out.into_inner().map_err(io::IntoInnerError::into_error)
        };
        write().or_fail().and_then(|file| body(&file))
    }

    fn of(&self, record: u32) -> &[String] {
        self.0.get(&record).map_or(&[], Vec::as_slice)
    }
}

fn body(file: &File) -> Result<Body, Failure> {
    let mut file = file.try_clone().or_fail()?;
    file.rewind().or_fail()?;
    let bytes = file.metadata().or_fail()?.len();
    Ok(Body { file, bytes })
}

/// Opens a file, and decompresses it if it is compressed.
fn open(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let refused = |problem: &str| Failure::Input(format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| failed(explained(path, error)))?;
    let kind = file.metadata().map_err(failed)?;
    if kind.is_dir() {
        return Err(refused("is a folder; give the file with the encodings"));
    }
    // A pipe is copied, since it is read more than once.
    let file =
        if kind.is_file() { file } else { copied(|mut to| io::copy(&mut &file, &mut to)).map_err(failed)? };
    let head = packed::head(&file).map_err(failed)?;
    if head.is_empty() {
        return Err(refused("is empty"));
    }
    if let Some(what) = packed::unread(path, &head) {
        return Err(refused(&format!("is {what}; unpack it, and give the file with the encodings")));
    }
    match packed::coding(path, &head) {
        None => Ok(file),
        Some(coding) => copied(|to| packed::unpack(file, coding, to)).map_err(|error| {
            packed::damage(&error).map_or_else(|| failed(error), |problem| refused(&problem))
        }),
    }
}

/// Creates an unnamed file, fills it with `write`, and rewinds it.
fn copied(write: impl FnOnce(&File) -> io::Result<u64>) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    write(&copy)?;
    copy.rewind()?;
    Ok(copy)
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
