//! Streams the bytes of an object.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use super::files::{Files, Number};
use super::pins::Pin;
use super::{Error, Object};

/// The size of a chunk of a stream. Two are in memory: one is being sent while the next is read.
const CHUNK_BYTES: u64 = 512 << 10;

/// An open object. It stays readable while it is replaced or deleted.
#[derive(Debug)]
pub struct Contents {
    /// The attributes of the object.
    pub object: Object,
    pub(super) bytes: Source,
}

/// The location of the bytes.
#[derive(Debug)]
pub(super) enum Source {
    Small(Bytes),
    Files(Pieces),
}

/// The files with an object's bytes, in order, and the file that was read last.
#[derive(Debug)]
pub(super) struct Pieces {
    files: Files,
    /// The files, each with the position of its first byte in the object.
    begins: Vec<(u64, Number)>,
    size: u64,
    open: Mutex<Option<(Number, Arc<File>)>>,
    _pin: Pin,
}

impl Pieces {
    pub(super) fn new(files: Files, pieces: &[(Number, u64)], pin: Pin) -> Self {
        let mut size = 0;
        let begins = pieces
            .iter()
            .map(|&(number, bytes)| {
                let begins = size;
                size += bytes;
                (begins, number)
            })
            .collect();
        Self { files, begins, size, open: Mutex::default(), _pin: pin }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = (Number, u64)> {
        let ends = self.begins.iter().skip(1).map(|(begins, _)| *begins).chain([self.size]);
        self.begins.iter().zip(ends).map(|((begins, number), end)| (*number, end - begins))
    }

    /// Fails unless each file exists with all its bytes. Later, a response that has begun could only be cut off.
    pub(super) fn require(&self) -> Result<(), Error> {
        for (number, bytes) in self.numbers() {
            match self.files.size(number) {
                Ok(found) if found == bytes => {}
                Ok(found) => return Err(self.damaged(number, &format!("has {found} bytes, and had {bytes}"))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(self.damaged(number, "is missing"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn damaged(&self, number: Number, what: &str) -> Error {
        Error::Damaged(format!(
            "its file {} {what}; restore it from a backup",
            self.files.path(number).display()
        ))
    }

    /// Reads a chunk from `position`, which is shorter at the end of a file.
    fn read(&self, position: u64, end: u64) -> io::Result<Bytes> {
        let at = self.begins.partition_point(|(begins, _)| *begins <= position) - 1;
        let (begins, number) = self.begins[at];
        let piece_end = self.begins.get(at + 1).map_or(self.size, |(begins, _)| *begins);
        let count = end.min(piece_end).min(position + CHUNK_BYTES) - position;
        let mut bytes = vec![0; count as usize];
        self.file(number)?.read_exact_at(&mut bytes, position - begins)?;
        Ok(bytes.into())
    }

    fn file(&self, number: Number) -> io::Result<Arc<File>> {
        let mut open = self.open.lock();
        match &*open {
            Some((last, file)) if *last == number => Ok(Arc::clone(file)),
            _ => {
                let file = Arc::new(self.files.read(number)?);
                *open = Some((number, Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}

impl Contents {
    /// Returns the byte range of a part, by its position from 1, and the number of parts.
    pub fn part(&self, position: u32) -> Option<(Range<u64>, u32)> {
        match &self.bytes {
            Source::Small(bytes) => (position == 1).then_some((0..bytes.len() as u64, 1)),
            Source::Files(files) => {
                let at = (position as usize).checked_sub(1)?;
                let begins = files.begins.get(at)?.0;
                let end = files.begins.get(at + 1).map_or(files.size, |(begins, _)| *begins);
                Some((begins..end, files.begins.len() as u32))
            }
        }
    }

    /// Returns the bytes in `range`, which must be within the object.
    pub fn stream(self, range: Range<u64>) -> Chunks {
        match self.bytes {
            Source::Small(bytes) => {
                let bytes = bytes.slice(range.start as usize..range.end as usize);
                Chunks { small: Some(bytes).filter(|bytes| !bytes.is_empty()), large: None }
            }
            Source::Files(files) => {
                let mut large = Large { files: Arc::new(files), range, ahead: None };
                large.read_ahead();
                Chunks { small: None, large: Some(large) }
            }
        }
    }
}

/// The bytes of an object in chunks. The next chunk is read while one is used.
#[derive(Debug)]
pub struct Chunks {
    small: Option<Bytes>,
    large: Option<Large>,
}

#[derive(Debug)]
struct Large {
    files: Arc<Pieces>,
    /// The range that is left to read.
    range: Range<u64>,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Large {
    fn read_ahead(&mut self) {
        if !self.range.is_empty() {
            let (files, Range { start, end }) = (Arc::clone(&self.files), self.range.clone());
            self.ahead = Some(spawn_blocking(move || files.read(start, end)));
        }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(bytes) = self.small.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let Some(large) = &mut self.large else { return Poll::Ready(None) };
        let Some(ahead) = &mut large.ahead else { return Poll::Ready(None) };
        let read = ready!(Pinned::new(ahead).poll(context));
        large.ahead = None;
        match read {
            Ok(Ok(bytes)) => {
                large.range.start += bytes.len() as u64;
                large.read_ahead();
                Poll::Ready(Some(Ok(bytes)))
            }
            Ok(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}
