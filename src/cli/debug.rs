//! `entityd debug bundle`: writes the state of a server to one file, for bug reports.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::check::Report;
use super::context::runtime;
use super::destination::Destination;
use super::interrupt::Unfinished;
use super::ops_client::{Client, OptionalServer};
use super::redact::Redactor;
use super::{Failure, output};
use crate::config::{self, Flags, Loaded, show};
use crate::runtime::clock::Clock;

/// The maximum number of bytes taken from the end of a log.
const LOG_BYTES: u64 = 1 << 20;

/// Collects information for a bug report
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Bundle(Box<Bundle>),
}

/// Writes settings, versions, checks, metrics, queues and the end of a log into one file
///
/// Uses the same flags, environment and file as `serve`, and works while the server is down: the bundle says what could
/// not be read. It contains no encodings, results, names of projects, tokens or keys. Secrets of the settings and the
/// environment are redacted wherever they occur, and so are words that look like tokens. Review the file before you
/// send it.
#[derive(Debug, Args)]
struct Bundle {
    /// The file to write [default: entityd-debug-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Log of the server; its last MiB is included
    #[arg(long = "log-file", value_name = "FILE")]
    log_file: Option<PathBuf>,
    #[command(flatten)]
    server: OptionalServer,
    #[command(flatten)]
    flags: Flags,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Bundle(bundle) = self.action;
        bundle.run()
    }
}

impl Bundle {
    fn run(self) -> Result<(), Failure> {
        let runtime = runtime()?;
        let unfinished = Unfinished::watch(&runtime);
        let log = self.log_file.as_deref().map(tail).transpose()?;
        let inputs = self.flags.clone().with_environment();
        let loaded = config::load(&inputs)?;
        let mut redactor = Redactor::new(&loaded.settings, &inputs.environment);
        let now = Clock::system().now();
        let path = self.output.clone();
        let path = path.unwrap_or_else(|| PathBuf::from(format!("entityd-debug-{}.tar.gz", now.compact())));
        // The value of any setting may be the path of an input, which must not be overwritten.
        let named = inputs
            .flags
            .values()
            .chain(&inputs.file)
            .chain(inputs.environment.iter().map(|(_, value)| value));
        let options = self.server.options();
        let mut read: Vec<&Path> = named.map(Path::new).chain(self.log_file.as_deref()).collect();
        read.extend(options.files());
        let destination = Destination::open_beside(Some(&path), &read, unfinished)?;
        let mut entries = vec![
            ("versions.txt", versions()),
            ("settings.json", show::json(&loaded)),
            ("data-directory.txt", listing(&loaded)),
        ];
        runtime.block_on(async {
            let report = Report::make(&loaded.settings).await;
            entries.push(("check.json", format!("{:#}\n", report.json())));
            entries.extend(self.asked(&mut redactor).await);
        });
        entries.extend(log.map(|text| ("log.txt", text)));
        write(destination, &entries, &redactor).map_err(|failure| match failure {
            Failed::Io(error) => Failure::Failed(format!("cannot write {}: {error}", path.display())),
            Failed::Finish(failure) => failure,
        })?;
        let names: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
        output::print(&format!("{}: {}\n", path.display(), names.join(", ")))
    }

    /// Returns the responses of the server as named files. A file has the text of the error if there is no response.
    async fn asked(&self, redactor: &mut Redactor) -> Vec<(&'static str, String)> {
        let options = self.server.options();
        let client = match Client::without_token(&options) {
            Ok(client) => client,
            Err(failure) => return vec![("server.txt", format!("{failure}\n"))],
        };
        let said = |answer: Result<String, Failure>| answer.unwrap_or_else(|failure| format!("{failure}\n"));
        let mut found = vec![
            ("readyz.json", said(client.text("readyz").await)),
            ("metrics.txt", said(client.text("metrics").await)),
        ];
        found.push(match Client::new(&options) {
            Ok(client) => {
                redactor.add(client.token());
                let queues = client.get("queue", &[], "queues").await;
                ("queues.json", said(queues.map(|queues| format!("{queues:#}\n"))))
            }
            Err(failure) => ("queues.json", format!("{failure}\n")),
        });
        found
    }
}

enum Failed {
    Io(io::Error),
    Finish(Failure),
}

fn write(destination: Destination, entries: &[(&str, String)], redactor: &Redactor) -> Result<(), Failed> {
    let mut archive = Builder::new(GzEncoder::new(destination, Compression::default()));
    for (name, text) in entries {
        let text = redactor.strike(text);
        let mut header = Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, text.as_bytes()).map_err(Failed::Io)?;
    }
    let encoder = archive.into_inner().map_err(Failed::Io)?;
    let mut destination = encoder.finish().map_err(Failed::Io)?;
    destination.flush().map_err(Failed::Io)?;
    destination.finish().map_err(Failed::Finish)
}

fn versions() -> String {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!(
        "entityd {}\n{} {} {}\n",
        env!("CARGO_PKG_VERSION"),
        text(system.sysname()),
        text(system.release()),
        text(system.machine())
    )
}

/// Lists the entries at the top of the data directory with their sizes.
fn listing(loaded: &Loaded) -> String {
    let home = &loaded.settings.data_dir;
    let entries = match fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) => return format!("{}: {error}\n", home.display()),
    };
    let line = |entry: fs::DirEntry| {
        let found = entry.metadata().ok()?;
        let size = if found.is_dir() { "folder".to_owned() } else { found.len().to_string() };
        Some(format!("{size:>12}  {}\n", entry.file_name().to_string_lossy()))
    };
    let mut lines: Vec<String> = entries.filter_map(Result::ok).filter_map(line).collect();
    lines.sort_by(|a, b| a[12..].cmp(&b[12..]));
    lines.concat()
}

/// Reads the end of a log, which may be a pipe, such as the output of `journalctl`.
fn tail(path: &Path) -> Result<String, Failure> {
    let read = || {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let mut bytes = Vec::new();
        let is_cut = if found.file_type().is_fifo() {
            end_of(&mut file, &mut bytes)?
        } else {
            let begin = found.len().saturating_sub(LOG_BYTES);
            file.seek(SeekFrom::Start(begin))?;
            file.take(LOG_BYTES).read_to_end(&mut bytes)?;
            begin > 0
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The first line may be incomplete.
        Ok(if is_cut {
            text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
        } else {
            text
        })
    };
    read().map_err(|error: io::Error| Failure::Failed(format!("cannot read {}: {error}", path.display())))
}

/// Reads to the end of a stream, and keeps the last bytes. Returns true if earlier bytes were dropped.
fn end_of(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut is_cut = false;
    while stream.by_ref().take(LOG_BYTES).read_to_end(bytes)? > 0 {
        let earlier = bytes.len().saturating_sub(LOG_BYTES as usize);
        bytes.drain(..earlier);
        is_cut |= earlier > 0;
    }
    Ok(is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_the_last_bytes_are_kept() {
        let all: Vec<u8> = (0..3 * LOG_BYTES + 7).map(|at| at as u8).collect();
        for size in [0, 5, LOG_BYTES as usize, all.len()] {
            let mut kept = Vec::new();
            let is_cut = end_of(&mut &all[..size], &mut kept).unwrap();
            assert_eq!(is_cut, size > LOG_BYTES as usize);
            assert!(all[..size].ends_with(&kept) && kept.len() == size.min(LOG_BYTES as usize), "{size}");
        }
    }
}
