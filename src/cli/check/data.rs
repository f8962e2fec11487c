//! Checks the data directory: its lock, version, permissions, disk and file dates.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::Finding;
use super::schema;
use crate::app::inspect;
use crate::buckets;
use crate::config::Settings;
use crate::metadata::sqlite;
use crate::runtime::clock::{Clock, Stopwatch, Timestamp};
use crate::system::data_dir::{self, FORMAT};
use crate::system::{disk, file_system};

/// The number of syncs that are measured.
const SYNCS: usize = 32;
/// The median duration of a sync above which the check warns: every change waits for a sync.
const SLOW: Duration = Duration::from_millis(20);
/// The number of bytes written before each measured sync.
const CHANGE_BYTES: usize = 4096;
/// A file date this far in the future proves that the clock is wrong.
const AHEAD: Duration = Duration::from_mins(1);

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let home = &settings.data_dir;
    let Some(existing) = home.ancestors().map(or_current).find(|path| path.is_dir()) else {
        return vec![Finding::failed("data directory", format!("{} cannot be created", home.display()))];
    };
    let mut findings = vec![used(home, existing)];
    if home.is_dir() {
        findings.push(version(home, settings));
    }
    findings.extend([sync(existing), space("disk space", existing, settings), kind("file system", existing)]);
    if let Some(objects) = inspect::object_directory(settings) {
        match objects.ancestors().find(|path| path.is_dir()) {
            Some(found) => findings.extend([
                rights("objects", found),
                space("objects: disk space", found, settings),
                kind("objects: file system", found),
            ]),
            None => {
                findings.push(Finding::failed("objects", format!("{} cannot be created", objects.display())));
            }
        }
    }
    findings.push(clock(home));
    findings
}

/// Returns true if a server uses the data directory: it holds the lock.
pub(super) fn is_served(home: &Path) -> bool {
    let Ok(lock) = fs::metadata(home.join("lock")) else { return false };
    // Taking the lock to find out could keep a server from starting at this moment.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let end = format!(":{}", lock.ino());
    locks
        .lines()
        .any(|line| line.contains("FLOCK") && line.split_whitespace().any(|word| word.ends_with(&end)))
}

fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn used(home: &Path, existing: &Path) -> Finding {
    let name = "data directory";
    let path = home.display();
    if home != existing && home.exists() {
        return Finding::failed(name, format!("{path} is not a directory"));
    }
    if !home.exists() {
        return match data_dir::check_folder(existing) {
            Ok(()) => Finding::ok(name, format!("{path} does not exist yet; serve creates it")),
            Err(error) => {
                Finding::failed(name, format!("{path} does not exist, and cannot be created: {error}"))
            }
        };
    }
    if let Err(error) = data_dir::check_entries(home) {
        return Finding::failed(name, error.to_string());
    }
    if is_served(home) {
        return Finding::ok(name, format!("{path} is in use by a server"));
    }
    match data_dir::stranger(home) {
        Ok(Some(stranger)) if !home.join("format").exists() => Finding::failed(
            name,
            format!("{path} is not empty and not a data directory: it holds \"{}\"", stranger.display()),
        ),
        Ok(_) => Finding::ok(name, format!("{path}, not in use")),
        Err(error) => Finding::failed(name, format!("{path}: {error}")),
    }
}

fn rights(name: &'static str, path: &Path) -> Finding {
    match data_dir::check_folder(path) {
        Ok(()) => Finding::ok(name, format!("{} can be written", path.display())),
        Err(error) => Finding::failed(name, error.to_string()),
    }
}

fn version(home: &Path, settings: &Settings) -> Finding {
    let name = "stored version";
    let format = match fs::read_to_string(home.join("format")) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::ok(name, "nothing is stored yet");
        }
        Err(error) => return Finding::failed(name, format!("format: {error}")),
    };
    let mut said = vec![format!("format {format}")];
    let mut older = false;
    for (file, known) in [("metadata.db", sqlite::SCHEMA), ("buckets.db", buckets::SCHEMA)] {
        let path = home.join(file);
        // The mark is written with the first commit, and outlives a lost database.
        let is_elsewhere = file == "metadata.db" && !settings.database.is_embedded();
        if !path.exists() && (is_elsewhere || !path.with_extension("mark").exists()) {
            continue;
        }
        let found = match schema::read(&path) {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Finding::failed(name, format!("{file} is damaged; restore it from a backup"));
            }
            Err(error) => {
                return Finding::failed(name, format!("{file}: {error}; restore it from a backup"));
            }
        };
        if found > known {
            let why = format!(
                "{file} has schema {found}, but this version only knows schemas up to {known}; use a newer entityd"
            );
            return Finding::failed(name, why);
        }
        older |= found < known;
        said.push(format!("{file} schema {found} of {known}"));
    }
    match format.parse::<u32>() {
        Ok(found) if found > FORMAT => {
            let why = format!(
                "format {format}, but this version only knows formats up to {FORMAT}; use a newer entityd"
            );
            return Finding::failed(name, why);
        }
        Ok(_) => {}
        Err(_) => {
            return Finding::failed(
                name,
                "the file `format` is damaged: it must contain one number".to_owned(),
            );
        }
    }
    let said = said.join(", ");
    if older {
        Finding::warning(
            name,
            format!("{said}: the next start of this version upgrades it; back it up first"),
        )
    } else {
        Finding::ok(name, said)
    }
}

fn sync(existing: &Path) -> Finding {
    let name = "sync";
    let mut times = match measured(existing) {
        Ok(times) => times,
        Err(error) => return Finding::failed(name, format!("{}: {error}", existing.display())),
    };
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let per_second = 1.0 / median.as_secs_f64().max(1e-6);
    let said = format!(
        "median {median:.2?}, worst {worst:.2?}: about {per_second:.0} jobs or changes a second one after the other; \
         concurrent ones share a sync"
    );
    if median > SLOW {
        Finding::warning(name, format!("{said}; a local SSD is faster"))
    } else {
        Finding::ok(name, said)
    }
}

fn measured(folder: &Path) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::Builder::new().prefix("probe-").tempfile_in(folder)?;
    file.write_all(&[0; CHANGE_BYTES])?;
    file.as_file().sync_all()?;
    (0..SYNCS)
        .map(|_| {
            file.seek(SeekFrom::Start(0))?;
            let watch = Stopwatch::start();
            file.write_all(&[1; CHANGE_BYTES])?;
            file.as_file().sync_data()?;
            Ok(watch.elapsed())
        })
        .collect()
}

fn space(name: &'static str, path: &Path, settings: &Settings) -> Finding {
    let room = match disk::room(path) {
        Ok(room) => room,
        Err(error) => return Finding::failed(name, format!("{}: {error}", path.display())),
    };
    let (free, total) = (room.free_bytes >> 20, room.total_bytes >> 20);
    let said = format!("{free} of {total} MiB are free at {}", path.display());
    if room.free_bytes < settings.disk_free_min {
        let least = settings.disk_free_min >> 20;
        Finding::failed(name, format!("{said}: uploads need more than {least} MiB (--disk-free-min)"))
    } else if free < total / 20 {
        Finding::warning(name, format!("{said}: less than 5 %"))
    } else {
        Finding::ok(name, said)
    }
}

fn kind(name: &'static str, path: &Path) -> Finding {
    if let Some(kind) = file_system::distant(path) {
        return Finding::warning(
            name,
            format!(
                "{kind}: locks may not keep a second server out, and synced data may not be on a disk; use a local disk"
            ),
        );
    }
    match file_system::name(path) {
        Some(kind @ ("tmpfs" | "ramfs")) => {
            Finding::warning(name, format!("{kind}: everything is lost at a restart"))
        }
        Some(kind @ "overlay") => Finding::warning(
            name,
            format!("{kind}: a container's own layer is lost with the container; mount a volume"),
        ),
        Some(kind) => Finding::ok(name, kind),
        None => Finding::ok(name, "local, of an unknown type"),
    }
}

fn clock(home: &Path) -> Finding {
    let name = "clock";
    let now = Clock::system().now();
    let files = ["metadata.db", "metadata.db-wal", "metadata.mark", "lock"].map(|file| home.join(file));
    let written = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some(Timestamp::from_micros(found.mtime().saturating_mul(1_000_000)))
    };
    let latest = files.iter().filter_map(written).max();
    match latest {
        Some(latest) if latest > now.after(AHEAD) => Finding::warning(
            name,
            format!("{now} UTC, but files were written at {latest}: the clock is behind"),
        ),
        _ => Finding::ok(name, format!("{now} UTC")),
    }
}
