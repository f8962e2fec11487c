//! Reads block entries of both versions.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::super::block::{DIGEST_BYTES, Digest, ENTRY_BYTES, Entry};
use super::{FRAME_MAX, HEAD_BYTES, LIST_MAX, MAGIC, PAIR_BYTES};

/// Returns true if `source` is of version 2, and positions it at the first frame; otherwise at the first entry.
pub(in super::super) fn is_numbered(source: &mut (impl Read + Seek)) -> io::Result<bool> {
    let start = source.stream_position()?;
    let mut magic = Vec::with_capacity(MAGIC.len());
    source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    let numbered = magic == MAGIC;
    if !numbered {
        source.seek(SeekFrom::Start(start))?;
    }
    Ok(numbered)
}

/// Reads the frames of version 2.
pub(in super::super) struct Frames<E> {
    source: E,
    bytes: Vec<u8>,
}

/// A list of digests.
pub(in super::super) struct List {
    pub(in super::super) digests: Vec<Digest>,
    /// The number of entries with each digest.
    pub(in super::super) entries: Vec<u32>,
}

/// The head of a frame.
#[derive(Clone, Copy)]
struct Head {
    first: usize,
    digests: usize,
    pairs: usize,
}

impl<E: Read> Frames<E> {
    /// Reads from `source`, which is positioned at a frame.
    pub(in super::super) const fn new(source: E) -> Self {
        Self { source, bytes: Vec::new() }
    }

    fn head(&mut self) -> io::Result<Option<Head>> {
        self.bytes.clear();
        let read = self.source.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut self.bytes)?;
        match self.bytes.as_chunks::<4>().0 {
            [] if read == 0 => Ok(None),
            numbers @ [_, _, _] => {
                let [first, digests, pairs] =
                    std::array::from_fn(|at| u32::from_le_bytes(numbers[at]) as usize);
                if digests > FRAME_MAX || pairs > FRAME_MAX || first + digests > LIST_MAX {
                    return Err(damaged());
                }
                Ok(Some(Head { first, digests, pairs }))
            }
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn read(&mut self, bytes: usize) -> io::Result<&[u8]> {
        self.bytes.clear();
        if self.source.by_ref().take(bytes as u64).read_to_end(&mut self.bytes)? < bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(&self.bytes)
    }

    /// Reads the digests of a frame into `list`.
    fn digests(&mut self, head: Head, list: &mut Vec<Digest>) -> io::Result<()> {
        if head.first == 0 {
            list.clear();
        }
        if head.first != list.len() {
            return Err(damaged());
        }
        list.extend_from_slice(self.read(head.digests * DIGEST_BYTES)?.as_chunks().0);
        Ok(())
    }
}

impl<E: Read + Seek> Frames<E> {
    /// Returns the list of digests, and positions the source at the first frame again; `None` if there are several.
    pub(in super::super) fn list(&mut self) -> io::Result<Option<List>> {
        let start = self.source.stream_position()?;
        let mut list = List { digests: Vec::new(), entries: Vec::new() };
        let mut only = true;
        while let Some(head) = self.head()? {
            only = head.first != 0 || list.entries.is_empty();
            if !only {
                break;
            }
            self.digests(head, &mut list.digests)?;
            list.entries.resize(list.digests.len(), 0);
            for pair in self.read(head.pairs * PAIR_BYTES)?.as_chunks().0 {
                let count = list.entries.get_mut(numbers(*pair).0 as usize).ok_or_else(damaged)?;
                *count = count.checked_add(1).ok_or_else(damaged)?;
            }
        }
        self.source.seek(SeekFrom::Start(start))?;
        Ok(only.then_some(list))
    }

    /// Passes all entries to `each`: the number of the digest, and the record. There must be one list, `digests`.
    pub(in super::super) fn pairs<F>(
        &mut self,
        digests: usize,
        failed: impl Fn(io::Error) -> F,
        mut each: impl FnMut(u32, u32) -> Result<(), F>,
    ) -> Result<(), F> {
        while let Some(head) = self.head().map_err(&failed)? {
            let digest_bytes = (head.digests * DIGEST_BYTES) as i64;
            self.source.seek_relative(digest_bytes).map_err(&failed)?;
            for pair in self.read(head.pairs * PAIR_BYTES).map_err(&failed)?.as_chunks().0 {
                let (number, record) = numbers(*pair);
                if number as usize >= digests {
                    return Err(failed(damaged()));
                }
                each(number, record)?;
            }
        }
        Ok(())
    }
}

fn numbers(pair: [u8; PAIR_BYTES]) -> (u32, u32) {
    let pair = u64::from_le_bytes(pair);
    ((pair >> 32) as u32, pair as u32)
}

/// Returns the error of entries that contradict each other.
pub(in super::super) fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the block entries are inconsistent")
}

/// Translates version 2 to version 1.
pub(in super::super) struct Translated<E> {
    frames: Frames<E>,
    list: Vec<Digest>,
    entries: Vec<u8>,
    at: usize,
}

impl<E: Read> Translated<E> {
    pub(in super::super) const fn new(frames: Frames<E>) -> Self {
        Self { frames, list: Vec::new(), entries: Vec::new(), at: 0 }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.entries.clear();
        while self.entries.is_empty() {
            let Some(head) = self.frames.head()? else {
                break;
            };
            self.frames.digests(head, &mut self.list)?;
            for pair in self.frames.read(head.pairs * PAIR_BYTES)?.as_chunks().0 {
                let (number, record) = numbers(*pair);
                let block = *self.list.get(number as usize).ok_or_else(damaged)?;
                self.entries.extend_from_slice(&Entry { block, record }.to_bytes());
            }
        }
        Ok(())
    }
}

impl<E: Read> Read for Translated<E> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.at == self.entries.len() {
            self.refill()?;
        }
        let read = (&self.entries[self.at..]).read(bytes)?;
        self.at += read;
        Ok(read)
    }
}

/// Returns all entries of either version, for tests.
///
/// # Errors
/// The entries are damaged.
pub fn read_all(bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let mut source = io::Cursor::new(bytes);
    let mut plain = Vec::new();
    if is_numbered(&mut source)? {
        Translated::new(Frames::new(source)).read_to_end(&mut plain)?;
    } else {
        source.read_to_end(&mut plain)?;
    }
    match plain.as_chunks::<ENTRY_BYTES>() {
        (entries, []) => Ok(entries.iter().map(Entry::from_bytes).collect()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
