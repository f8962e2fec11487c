//! A temporary directory with the intermediate files of a linkage. It is always removed.

use std::fs::File;
use std::io;

use linkage::scratch::{Scratch, ScratchFile};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cli::exit::OrFail;
use crate::cli::interrupt::Unfinished;
use crate::cli::{Failure, context};
use crate::model::{ProjectId, RunId};
use crate::objects::{Blob, Error, Key, Objects, Staged, keys};

/// The identifier of the only project.
const PROJECT: ProjectId = ProjectId::from_bytes([0; 24]);
/// The identifier of the only run.
const RUN: RunId = RunId::from_bytes([0; 24]);

/// The directory and the runtime of a linkage.
pub(super) struct Workspace {
    objects: Objects,
    runtime: Runtime,
    folder: TempDir,
    unfinished: Unfinished,
}

impl Workspace {
    /// Opens a workspace in the system's directory for temporary files (`TMPDIR`).
    pub(super) fn open() -> Result<Self, Failure> {
        let runtime = context::runtime()?;
        let unfinished = Unfinished::watch(&runtime);
        let folder = unfinished.create(tempfile::tempdir, TempDir::path).map_err(|error| {
            Failure::Failed(format!(
                "cannot create a temporary directory: {error}; set TMPDIR to another place"
            ))
        })?;
        let objects = Objects::open(&folder.path().join("objects"), &folder.path().join("staging"));
        let objects = objects.or_fail()?;
        Ok(Self { objects, runtime, folder, unfinished })
    }

    /// Returns the files to remove on Ctrl-C.
    pub(super) const fn unfinished(&self) -> Unfinished {
        self.unfinished
    }

    /// Creates an unnamed file, which is deleted when it is closed.
    pub(super) fn nameless(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.folder.path())
    }

    /// Returns empty content, to be written and then mapped.
    pub(super) fn stage(&self) -> Staged {
        self.objects.stage()
    }

    /// Returns the encodings of `party`, which were written to `file`, as one slice.
    pub(super) fn matrix(&self, party: usize, file: Staged) -> Result<Blob, Error> {
        self.map(file, &keys::matrix(PROJECT, party as u32, 0))
    }

    /// Returns the block index of `party`, which was written to `file`, as one slice.
    pub(super) fn index(&self, party: usize, file: Staged) -> Result<Blob, Error> {
        self.map(file, &keys::index(PROJECT, party as u32, 0))
    }

    /// Returns the plan of the linkage, which was written to `file`, as one slice.
    pub(super) fn plan(&self, file: Staged) -> Result<Blob, Error> {
        self.map(file, &keys::plan(PROJECT, RUN))
    }

    fn map(&self, file: Staged, key: &Key) -> Result<Blob, Error> {
        self.runtime.block_on(async {
            file.publish(key).await?;
            self.objects.blob(key).await
        })
    }
}

impl Scratch for Workspace {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(self.nameless()?))
    }
}
