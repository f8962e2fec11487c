//! Removes files to which the index does not refer, at the start.

use std::fs;
use std::io;

use super::files::{Files, Number, opening_of, series_of};
use super::index::Compared;
use crate::model::CleanupLimit;

/// Distinguishes files that a crash has left from files whose objects the index has lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    /// The number of openings of the index, including this one. All files got their numbers in earlier openings.
    pub(super) opened: i64,
    /// The limit on removals.
    pub(super) limit: CleanupLimit,
}

impl Proof {
    /// Returns true if the index knows all objects whose files got their numbers in that opening.
    const fn covers(self, opening: i64) -> bool {
        opening < self.opened && series_of(opening) == series_of(self.opened)
    }
}

/// Removes the files that a crash has left. Keeps files that may belong to objects which the index has lost.
pub(super) fn tidy(files: &Files, found: &Compared, proof: Proof) -> io::Result<()> {
    let (strays, unknown): (Vec<Number>, Vec<Number>) =
        found.strays.iter().partition(|number| proof.covers(opening_of(**number)));
    let count = found.strays.len();
    if found.missing > 0 {
        tracing::error!(
            files = found.missing,
            unknown = count,
            "files of objects in buckets are missing; restore objects/buckets and buckets.db from one backup"
        );
    } else if !proof.limit.admits(strays.len() as u64, found.all) {
        tracing::error!(
            files = strays.len(),
            all = found.all,
            "too many files in objects/buckets are unknown to buckets.db, so none is removed; if they may go, start once with --cleanup-share-max 100"
        );
    } else {
        remove(files, &strays)?;
        keep(&unknown);
    }
    Ok(())
}

fn remove(files: &Files, strays: &[Number]) -> io::Result<()> {
    let mut bytes = 0;
    for stray in strays {
        bytes += fs::metadata(files.path(*stray)).map_or(0, |file| file.len());
        files.remove(*stray)?;
    }
    if !strays.is_empty() {
        tracing::info!(files = strays.len(), bytes, "removed files of interrupted uploads");
    }
    Ok(())
}

fn keep(unknown: &[Number]) {
    if !unknown.is_empty() {
        tracing::error!(
            files = unknown.len(),
            "buckets.db cannot be proved to have known some files in objects/buckets, which are kept; restore both from one backup, or remove them by hand"
        );
    }
}
