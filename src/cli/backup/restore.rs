//! `entityd restore`: creates a data directory from a backup.
//!
//! The directory is filled in place, since it may be a mount point. The file `restoring` is created first and is
//! renamed to `format` at the end: a server rejects a directory without `format`, and a restore empties one with
//! `restoring` and starts again. The file `restored` tells the first start of the server why the queue is missing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use tokio::runtime::Runtime;

use super::describe::{describe, left_out};
use super::keys::{self, Key, PassphraseOption};
use super::manifest::{Entry, KEYS, LAST, Manifest};
use super::repository::{cannot_use, check_outside};
use super::stored::Stored;
use crate::app;
use crate::cli::context::runtime;
use crate::cli::exit::OrFail;
use crate::cli::interrupt::unless_stopped;
use crate::cli::progress::Progress;
use crate::cli::{Failure, output};
use crate::system::permission::{self, Access};
use crate::system::{data_dir, disk, folder, regular};

/// The file that marks a directory as being restored.
const MARKER: &str = "restoring";
/// The files and folders at the top of a data directory that a restore may create.
const TOP: [&str; 10] = [
    app::RESTORED,
    "identity",
    "metadata.db",
    "metadata.mark",
    "buckets.db",
    "buckets.mark",
    "objects",
    "admin-token",
    "s3-credentials",
    "tls",
];

/// Creates a data directory from a backup
///
/// The directory must be new or empty; a restore that was killed may be repeated there. The restored directory has
/// the identity of the one that was backed up: never run two servers on copies of one data directory.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Directory, bucket or file with backups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    from: String,
    /// New or empty directory
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Name of the backup, as `backup inspect` lists it [default: the latest]
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    #[command(flatten)]
    keys: PassphraseOption,
    /// Check the backup and report what would be done, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        runtime()?.block_on(async {
            let passphrase = self.keys.read()?;
            check_no_data(&self.into)?;
            check_outside("--into", &self.into)?;
            let stored = Stored::open(&self.from)?;
            let manifest = unless_stopped(stored.manifest(self.backup.as_deref())).await?;
            if !self.json {
                output::print(&left_out(&manifest))?;
            }
            let keys = unless_stopped(keys::decrypted(&stored, &manifest, passphrase.as_ref())).await?;
            if self.dry_run {
                Place::check(&self.into, &manifest)?;
                unless_stopped(stored.check_sizes(&manifest)).await?;
            } else {
                restore(&stored, &manifest, &keys, &self.into).await?;
            }
            let mut said = describe(&manifest);
            said["into"] = json!(self.into);
            said["restored"] = json!(!self.dry_run);
            output::print(&if self.json {
                format!("{said}\n")
            } else {
                format!(
                    "backup {} of {}: {} files, {} bytes {} into {}\n",
                    manifest.backup,
                    manifest.made,
                    manifest.entries.len(),
                    manifest.bytes(),
                    if self.dry_run { "would be restored" } else { "restored" },
                    self.into.display()
                )
            })
        })
    }
}

/// Restores a backup into a temporary directory, opens the directory, and reports its content.
pub(super) fn verify(
    runtime: &Runtime,
    from: &str,
    backup: Option<&str>,
    passphrase: &PassphraseOption,
    scratch: Option<&Path>,
    as_json: bool,
) -> Result<(), Failure> {
    let folder = match scratch {
        Some(scratch) => tempfile::tempdir_in(scratch)
            .map_err(|error| cannot_use(scratch, &folder::obstacle(scratch).unwrap_or(error)))?,
        None => tempfile::tempdir().or_fail()?,
    };
    let path = folder.path().join("data");
    // An interruption drops the directory, which removes it.
    runtime.block_on(unless_stopped(async {
        let passphrase = passphrase.read()?;
        let stored = Stored::open(from)?;
        let manifest = stored.manifest(backup).await?;
        let keys = keys::decrypted(&stored, &manifest, passphrase.as_ref()).await?;
        restore(&stored, &manifest, &keys, &path).await?;
        let held = app::restored::check(&path, manifest.about.objects.is_empty()).await;
        let held = held.map_err(|error| {
            let why = crate::telemetry::chain(&error);
            Failure::Input(format!("the backup {} was restored but is not intact: {why}", manifest.backup))
        })?;
        let mut said = describe(&manifest);
        said["projects"] = json!(held.projects);
        said["uploads"] = json!(held.uploads);
        output::print(&if as_json {
            format!("{said}\n")
        } else {
            format!(
                "backup {} was restored, opened and checked: {} files, {} bytes, {} projects, {} uploads\n",
                manifest.backup,
                manifest.entries.len(),
                manifest.bytes(),
                held.projects,
                held.uploads
            )
        })
    }))
}

async fn restore(stored: &Stored, manifest: &Manifest, keys: &[Key], into: &Path) -> Result<(), Failure> {
    let mut format = Vec::new();
    let last = manifest.entries.iter().find(|entry| entry.path == LAST);
    stored.copy(last.expect("a checked manifest has it"), &mut format).await?;
    let place = Place::take(into, manifest, &format)?;
    let filled = unless_stopped(place.fill(stored, manifest, keys)).await;
    match filled.and_then(|()| place.publish()) {
        Ok(()) => Ok(()),
        Err(failure) => {
            place.clear();
            Err(failure)
        }
    }
}

/// A directory that is being restored.
struct Place {
    path: PathBuf,
    /// The marker file, whose lock prevents concurrent restores.
    _marker: File,
    /// True if this restore created the directory.
    made: bool,
}

impl Place {
    /// Checks that a backup may be restored into `path`.
    fn check(path: &Path, manifest: &Manifest) -> Result<(), Failure> {
        let failed = |error: io::Error| cannot_use(path, &error);
        let existing = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("."));
        if path.is_symlink() && !path.exists() {
            return Err(Failure::Usage(format!(
                "--into {} is a link to a place that does not exist; is the volume mounted?",
                path.display()
            )));
        }
        if path.exists() && !path.is_dir() {
            return Err(Failure::Usage(format!(
                "--into {} is a file; give a new or empty directory",
                path.display()
            )));
        }
        if path.is_dir()
            && !is_being_restored(path)
            && let Some(stranger) = data_dir::stranger(path).map_err(failed)?
        {
            return Err(Failure::Usage(format!(
                "--into {} is not empty: it holds \"{}\"; give a new or empty directory",
                path.display(),
                stranger.display()
            )));
        }
        permission::check(existing, Access::WRITE_OK | Access::EXEC_OK).map_err(failed)?;
        let free = disk::room(existing).map_err(failed)?.free_bytes;
        let needed = manifest.bytes();
        if free < needed {
            return Err(Failure::Failed(format!(
                "the backup needs {needed} bytes, but only {free} bytes are free at {}",
                existing.display()
            )));
        }
        Ok(())
    }

    /// Locks the directory, and removes the files of an earlier restore that was killed.
    fn take(path: &Path, manifest: &Manifest, format: &[u8]) -> Result<Self, Failure> {
        Self::check(path, manifest)?;
        let failed = |error: io::Error| cannot_use(path, &error);
        let made = !path.exists();
        folder::create(path, folder::PRIVATE).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut marker = options.open(path.join(MARKER)).map_err(failed)?;
        match marker.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Failed(format!("another restore is writing to {}", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let place = Self { path: path.to_owned(), _marker: marker.try_clone().map_err(failed)?, made };
        let begun =
            marker.set_len(0).and_then(|()| marker.write_all(format)).and_then(|()| marker.sync_all());
        begun.and_then(|()| place.remove_files()).map_err(failed)?;
        Ok(place)
    }

    async fn fill(&self, stored: &Stored, manifest: &Manifest, keys: &[Key]) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let (mut done, all) = (0, manifest.bytes().max(1));
        for entry in manifest.entries.iter().filter(|entry| ![LAST, KEYS].contains(&entry.path.as_str())) {
            progress.show("restoring", done as f64 / all as f64);
            self.fill_one(stored, entry).await?;
            done += entry.bytes;
        }
        for (path, content) in keys {
            let mut file = self.create(path)?;
            file.write_all(content).map_err(|error| cannot_use(&self.path.join(path), &error))?;
        }
        progress.finish();
        Ok(())
    }

    async fn fill_one(&self, stored: &Stored, entry: &Entry) -> Result<(), Failure> {
        let is_known = |top: &&str| *top != app::RESTORED && Path::new(&entry.path).starts_with(top);
        if !TOP.iter().any(is_known) {
            return Err(Failure::Input(format!(
                "the backup has an entry {}, which this version does not know",
                entry.path
            )));
        }
        let mut file = self.create(&entry.path)?;
        stored.copy(entry, &mut file).await
    }

    /// Creates a file, and its folder if that is missing.
    fn create(&self, path: &str) -> Result<File, Failure> {
        let path = self.path.join(path);
        let failed = |error: io::Error| cannot_use(&path, &error);
        folder::create(path.parent().unwrap_or(&self.path), folder::PRIVATE).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)
    }

    /// Makes all files durable, then renames the marker so that servers accept the directory.
    fn publish(&self) -> Result<(), Failure> {
        let publish = || {
            let folder = File::open(&self.path)?;
            File::create(self.path.join(app::RESTORED))?;
            rustix::fs::syncfs(&folder)?;
            fs::rename(self.path.join(MARKER), self.path.join(LAST))?;
            folder.sync_all()?;
            // The parent holds the directory entry of a new folder.
            self.path.canonicalize()?.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        publish().map_err(|error| cannot_use(&self.path, &error))
    }

    /// Removes all restored files, as far as possible: the next restore removes the rest.
    fn clear(&self) {
        if self.remove_files().is_ok() && fs::remove_file(self.path.join(MARKER)).is_ok() && self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }

    fn remove_files(&self) -> io::Result<()> {
        TOP.iter().try_for_each(|name| remove(&self.path.join(name)))
    }
}

/// Fails if `into` is a data directory: a restore replaces no data.
fn check_no_data(into: &Path) -> Result<(), Failure> {
    if !into.join(LAST).is_file() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--into {} is a data directory already, and a restore replaces no data; give a new or empty directory, or stop the \
         server of this one and move it away",
        into.display()
    )))
}

/// Returns true if a restore was killed in this directory. Its marker is empty or holds the number of a format: a
/// file of this name with other content was not written by a restore.
fn is_being_restored(path: &Path) -> bool {
    let marker = regular::read(&path.join(MARKER));
    marker
        .is_ok_and(|text| text.len() < 16 && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n'))
}

/// Removes a file or a folder; a mount point is emptied and kept.
fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.is_dir() {
        return fs::remove_file(path);
    }
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        check_no_data(home.path()).unwrap();
        fs::write(home.path().join(LAST), "1\n").unwrap();
        let refused = check_no_data(home.path()).unwrap_err().to_string();
        assert!(
            refused.contains("is a data directory already") && refused.contains("move it away"),
            "{refused}"
        );
    }
}
