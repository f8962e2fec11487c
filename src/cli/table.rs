//! The flags of commands that read a CSV, and the function that opens it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use encoder::csv::{Charset, Dialect, Reader};

use super::exit::Failure;
use crate::cli::number::whole;

/// The delimiter between columns.
const DELIMITER: u8 = b',';
/// The maximum number of characters of a field, as in Python.
const FIELD_MAX: usize = 131_072;

/// The dialect of a CSV.
#[derive(Debug, Args)]
pub(super) struct TableArguments {
    /// Character between columns, or `tab`
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    delimiter: u8,
    /// Character set of the file, such as utf-8, windows-1252 or utf-16le; a byte order mark overrides it
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    charset: Charset,
    /// Maximum number of characters of a field
    #[arg(long, value_name = "N", default_value_t = FIELD_MAX, value_parser = whole::<usize>(0..))]
    field_max: usize,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte) => Ok(*byte),
        _ => Err("the delimiter is `tab`, or one ASCII character that is not a quote or line end".to_owned()),
    }
}

/// Reads a file or standard input, and counts the bytes.
pub(super) struct Counted {
    file: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

/// The progress of reading a file.
pub(super) struct Done {
    read: Arc<AtomicU64>,
    bytes: u64,
}

impl Done {
    /// Returns the share of the file that was read, from 0 to 1; 0 if its size is not known.
    pub(super) fn share(&self) -> f64 {
        self.read.load(Ordering::Relaxed) as f64 / self.bytes.max(1) as f64
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl TableArguments {
    /// Returns whether no option is given, or only what holds without it.
    pub(super) fn is_default(&self) -> bool {
        let is_utf8 = "utf-8".parse::<Charset>().is_ok_and(|charset| charset == self.charset);
        self.delimiter == DELIMITER && is_utf8 && self.field_max == FIELD_MAX
    }

    /// Opens the CSV at `path`, or standard input if it is `-`.
    pub(super) fn open(&self, path: &Path) -> Result<(Reader<Counted>, Done), Failure> {
        let read = Arc::new(AtomicU64::new(0));
        let (file, bytes): (Box<dyn Read + Send>, u64) = if path == Path::new("-") {
            (Box::new(io::stdin()), u64::MAX)
        } else {
            let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
            let (metadata, file) = opened.map_err(|error| cannot_read(path, &error))?;
            if metadata.is_dir() {
                return Err(Failure::Usage(format!("{} is a directory; give a CSV file", path.display())));
            }
            if let Some(what) = foreign(&file) {
                return Err(Failure::Input(format!("{} is {what}", path.display())));
            }
            (Box::new(file), metadata.len())
        };
        let dialect = Dialect { delimiter: self.delimiter, charset: self.charset, field_max: self.field_max };
        let counted = Counted { file, read: Arc::clone(&read) };
        Ok((Reader::new(counted, dialect), Done { read, bytes }))
    }
}

/// The first bytes of files that are often mistaken for CSVs.
const FOREIGN: [(&[u8], &str); 4] = [
    (
        b"\x1f\x8b",
        "a gzip file; unpack it first, or pipe what `gzip -dc` writes into this command, with - as the file",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "a zstd file; unpack it first, or pipe what `zstd -dc` writes into this command, with - as the file",
    ),
    (b"PK\x03\x04", "a ZIP file or a workbook; give the CSV in it, or export one"),
    (b"\xd0\xcf\x11\xe0", "a workbook; export it as CSV"),
];

/// Returns what a file is if it is not a CSV. What cannot be read twice, such as a pipe, is not looked at.
fn foreign(file: &File) -> Option<&'static str> {
    let mut begin = [0; 4];
    let read = file.read_at(&mut begin, 0).ok()?;
    FOREIGN.iter().find(|(magic, _)| begin[..read].starts_with(magic)).map(|(_, what)| *what)
}

/// Returns the error for a file that cannot be read.
pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read {}: {error}", path.display()))
}
