//! `entityd bench ingest`: the time from the body of an upload to stored encodings, on one core.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use linkage::encoding::entries::Version;
use linkage::encoding::layout::{self, Dataset};
use linkage::encoding::{self, Summary, binary, json};
use linkage::scratch::{Scratch, ScratchFile};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::cli::number::whole;
use crate::cli::{Failure, output};
use crate::runtime::clock::Stopwatch;
use crate::system::folder;

/// Measures how fast uploads are checked and stored
///
/// Generates uploads of random encodings in a temporary directory: as JSON, as JSON with blocks, and binary. Each is then
/// read as a stream, checked, written as matrix and block entries, indexed, and synced to disk, on one core. The rate
/// is the size of the upload divided by the time of all these steps.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Records in each upload
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = whole::<u32>(1..))]
    records: u32,
    /// Bytes in each encoding
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole::<u32>(1..=65536))]
    encoding_bytes: u32,
    /// Blocks of each record in the upload that has blocks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<u32>(0..))]
    blocks: u32,
    /// Parent of the temporary directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End the output with a line that holds one JSON object
    #[arg(long)]
    json: bool,
}

/// A function that prints a text.
type Say<'a> = &'a dyn Fn(&str) -> Result<(), Error>;

/// The format of an upload.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Json,
    JsonBlocks,
    Binary,
}

/// The measurements of an upload.
#[derive(Debug, Serialize)]
struct Measured {
    form: Form,
    upload_bytes: u64,
    block_entries: u64,
    read_seconds: f64,
    index_seconds: f64,
    sync_seconds: f64,
    bytes_per_second: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    /// The throughput of JSON without blocks.
    bytes_per_second: f64,
    json_bytes_per_second: f64,
    json_blocks_bytes_per_second: f64,
    binary_bytes_per_second: f64,
    records: u32,
    encoding_bytes: u32,
    uploads: &'a [Measured],
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let uploads = self.measure_all(&say).map_err(|error| Failure::Failed(error.to_string()))?;
        if !self.json {
            return Ok(());
        }
        let [json, json_blocks, binary] = uploads.each_ref().map(|upload| upload.bytes_per_second);
        let report = Report {
            bytes_per_second: json,
            json_bytes_per_second: json,
            json_blocks_bytes_per_second: json_blocks,
            binary_bytes_per_second: binary,
            records: self.records,
            encoding_bytes: self.encoding_bytes,
            uploads: &uploads,
        };
        let line = serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?;
        output::print(&format!("{line}\n"))
    }

    /// Measures each format, and calls `say` with each result.
    fn measure_all(&self, say: Say<'_>) -> Result<[Measured; 3], Error> {
        if let (Some(dir), Some(obstacle)) = (&self.dir, self.dir.as_deref().and_then(folder::obstacle)) {
            return Err(Error::Output(Failure::unusable("--dir", dir, &obstacle)));
        }
        let dir = match &self.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        }?;
        say(&format!("{} records of {} bytes\n", self.records, self.encoding_bytes))?;
        Ok([
            self.measure(Form::Json, dir.path(), say)?,
            self.measure(Form::JsonBlocks, dir.path(), say)?,
            self.measure(Form::Binary, dir.path(), say)?,
        ])
    }

    fn measure(&self, form: Form, dir: &Path, say: Say<'_>) -> Result<Measured, Error> {
        let mut upload = tempfile::tempfile_in(dir)?;
        let upload_bytes = self.generate(form, &mut upload)?;
        let measured = self.ingest(form, upload, upload_bytes, dir)?;
        say(&measured.to_string())?;
        Ok(measured)
    }

    /// Writes an upload to a file, and rewinds the file. Returns the size of the upload.
    fn generate(&self, form: Form, upload: &mut File) -> Result<u64, Error> {
        let mut out = BufWriter::with_capacity(1 << 20, &mut *upload);
        let mut chance = ChaCha20Rng::seed_from_u64(1);
        let mut row = vec![0; self.encoding_bytes as usize];
        let (start, separator, end) = match form {
            Form::Json => ("{\"clks\": [", ", ", "]}"),
            Form::JsonBlocks => ("{\"clknblocks\": [", ", ", "]}"),
            Form::Binary => ("", "", ""),
        };
        out.write_all(start.as_bytes())?;
        for record in 0..self.records {
            chance.fill_bytes(&mut row);
            out.write_all(if record > 0 { separator } else { "" }.as_bytes())?;
            match form {
                Form::Json => write!(out, "\"{}\"", base64(&row))?,
                Form::JsonBlocks => self.generate_with_blocks(&mut out, &row, &mut chance)?,
                Form::Binary => out.write_all(&row)?,
            }
        }
        out.write_all(end.as_bytes())?;
        out.flush()?;
        drop(out);
        let bytes = upload.stream_position()?;
        upload.rewind()?;
        Ok(bytes)
    }

    /// Generates encodings with blocks of about ten records.
    fn generate_with_blocks(
        &self,
        out: &mut impl Write,
        row: &[u8],
        chance: &mut impl Rng,
    ) -> io::Result<()> {
        write!(out, "[\"{}\"", base64(row))?;
        for block in 0..self.blocks {
            write!(out, ", \"{block}-{}\"", chance.next_u32() % (self.records / 10 + 1))?;
        }
        out.write_all(b"]")
    }

    fn ingest(&self, form: Form, upload: File, upload_bytes: u64, dir: &Path) -> Result<Measured, Error> {
        let (mut matrix, mut entries) = (tempfile::tempfile_in(dir)?, tempfile::tempfile_in(dir)?);
        let mut index = tempfile::tempfile_in(dir)?;
        let all = Stopwatch::start();
        let summary = self.read(form, upload, &matrix, &entries)?;
        let read_seconds = all.seconds();
        sync(&[&matrix, &entries])?;
        let indexing = Stopwatch::start();
        let dataset = Dataset {
            upload: 0,
            records: summary.records,
            encoding_bytes: summary.encoding_bytes,
            matrix: from_the_start(&mut matrix)?,
            entries: if summary.has_blocks { Some(from_the_start(&mut entries)?) } else { None },
        };
        layout::build(dataset, &TemporaryFiles(dir), BufWriter::new(&mut index))?;
        let index_seconds = indexing.seconds();
        sync(&[&index])?;
        let seconds = all.seconds();
        Ok(Measured {
            form,
            upload_bytes,
            block_entries: summary.entries,
            read_seconds,
            index_seconds,
            sync_seconds: seconds - read_seconds - index_seconds,
            bytes_per_second: upload_bytes as f64 / seconds,
        })
    }

    fn read(&self, form: Form, upload: File, matrix: &File, entries: &File) -> Result<Summary, Error> {
        let uses_blocking = match form {
            Form::Binary => return Ok(binary::read(upload, self.records, self.encoding_bytes, matrix)?),
            Form::Json => false,
            Form::JsonBlocks => true,
        };
        let expected = json::Expected { uses_blocking, records_max: u32::MAX };
        match json::upload(upload, expected, matrix, entries, Version::Numbered)? {
            json::Received::Inline(summary) => Ok(summary),
            json::Received::External { .. } => unreachable!("the generated upload is inline"),
        }
    }
}

fn base64(row: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(row)
}

fn sync(files: &[&File]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_all())
}

fn from_the_start(file: &mut File) -> io::Result<&mut File> {
    file.rewind()?;
    Ok(file)
}

fn say(line: &str) -> Result<(), Error> {
    output::print(line).map_err(Error::Output)
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.form {
            Form::Json => "JSON",
            Form::JsonBlocks => "JSON with blocks",
            Form::Binary => "binary",
        };
        let megabytes = |bytes: f64| bytes / 1e6;
        writeln!(
            f,
            "{name:<17}{:7.1} MB{:7.0} MB/s   read {:.3} s   index {:.3} s   sync {:.3} s",
            megabytes(self.upload_bytes as f64),
            megabytes(self.bytes_per_second),
            self.read_seconds,
            self.index_seconds,
            self.sync_seconds,
        )
    }
}

/// Temporary files in a directory.
struct TemporaryFiles<'a>(&'a Path);

impl Scratch for TemporaryFiles<'_> {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(tempfile::tempfile_in(self.0)?))
    }
}

/// An error that prevented the measurement.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot use a temporary file: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    Encoding(#[from] encoding::Error),
    #[error(transparent)]
    Layout(#[from] layout::Error),
    #[error(transparent)]
    Output(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_upload_is_measured() {
        let arguments = Arguments { records: 50, encoding_bytes: 8, blocks: 2, dir: None, json: false };
        let uploads = arguments.measure_all(&|_| Ok(())).unwrap();
        assert_eq!(uploads.each_ref().map(|upload| upload.block_entries), [0, 100, 0]);
        assert_eq!(uploads[2].upload_bytes, 400);
        assert!(uploads.iter().all(|upload| upload.bytes_per_second > 0.0));
    }
}
