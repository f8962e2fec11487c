//! Readers and writers that fail once the job is cancelled.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use linkage::scratch::{Scratch, ScratchFile};

use super::active_jobs::ActiveJob;
use crate::objects::Objects;

/// Checks for cancellation at every read and write of the inner value.
pub(super) struct Cancellable<T> {
    inner: T,
    active: Arc<ActiveJob>,
}

impl<T> Cancellable<T> {
    pub(super) fn new(inner: T, active: &Arc<ActiveJob>) -> Self {
        Self { inner, active: Arc::clone(active) }
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    fn look(&self) -> io::Result<()> {
        stop_if(self.active.cancelled())
    }
}

fn stop_if(cancelled: &AtomicBool) -> io::Result<()> {
    // The kind must not be `Interrupted`, since callers would retry.
    if cancelled.load(Ordering::Relaxed) { Err(io::Error::other("the job was cancelled")) } else { Ok(()) }
}

impl<T: Read> Read for Cancellable<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        self.inner.read(bytes)
    }
}

impl<T: Write> Write for Cancellable<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Seek> Seek for Cancellable<T> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

impl Scratch for Cancellable<Objects> {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(Cancellable::new(Scratch::file(&self.inner)?, &self.active)))
    }

    fn merged_at_once(&self) -> usize {
        self.inner.merged_at_once()
    }
}
