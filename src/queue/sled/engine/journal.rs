//! The commit log: a journal of the commits that sled does not have yet.
//!
//! Two files are written in turn. Each use of a file is an *epoch*. A file is reused only when sled has every commit of
//! its last epoch. Both files have their full size from the start, so that a commit is one write into allocated space
//! and one fdatasync, which need not write the file's size or block map.
//!
//! ```text
//! 0      8 bytes  "entityqj"
//! 8      u32      version, 1
//! 12     u64      epoch: even in one file, odd in the other
//! 20     u32      CRC-32 of the 20 bytes before
//! 4096   records, one after another, up to the first invalid one:
//!        u32 CRC-32 of the rest   u32 bytes of the changes   u64 epoch
//!        changes: u8 0 remove, 1 put   u16 key bytes   u32 value bytes   key   value
//! ```
//!
//! A power cut can damage only the last record. An invalid record before a valid one is damage, and so is an invalid
//! header.
//!
//! All numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::batch::{Change, WriteBatch};
use super::tree::{of_io, storage};
use crate::queue::Error;
use crate::system::regular;

pub(in crate::queue::sled) const NAMES: [&str; 2] = ["journal.0", "journal.1"];
const MAGIC: &[u8; 8] = b"entityqj";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const RECORDS_AT: u64 = 4096;
const PREFIX_BYTES: usize = 16;
const CHANGE_BYTES: usize = 7;
/// The distance after an invalid record in which a valid one is searched for; few records are longer.
const LOOK_AHEAD_BYTES: u64 = 1 << 20;

/// The two files. One of them is being written.
#[derive(Debug)]
pub(in crate::queue::sled) struct Journal {
    files: [File; 2],
    epoch: u64,
    /// The position of the next record.
    end: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

/// An epoch that was read from a file.
#[derive(Debug)]
pub(in crate::queue::sled) struct Epoch {
    pub(in crate::queue::sled) number: u64,
    pub(in crate::queue::sled) commits: Vec<WriteBatch>,
}

impl Journal {
    /// Opens the files, or creates them if they are `new`. Nothing can be appended before [`Journal::begin`].
    pub(in crate::queue::sled) fn open(directory: &Path, bytes: u64, new: bool) -> Result<Self, Error> {
        let [first, second] = NAMES.map(|name| open_file(&directory.join(name), bytes, new));
        Ok(Self { files: [first?, second?], epoch: 0, end: u64::MAX, bytes, buffer: Vec::new() })
    }

    /// Returns the epochs after this one, in order, with their commits.
    pub(in crate::queue::sled) fn epochs_after(&self, applied: u64) -> Result<Vec<Epoch>, Error> {
        let mut epochs = Vec::new();
        for (parity, file) in (0..).zip(&self.files) {
            let mut head = [0; HEADER_BYTES];
            file.read_exact_at(&mut head, 0).map_err(of_io)?;
            let number = header(&head, parity)?.unwrap_or(0);
            // A file is reused only when sled has its epoch, so at most two epochs are missing in sled.
            let latest = applied + 2 - (applied + parity) % 2;
            if ![latest, latest.saturating_sub(2)].contains(&number) {
                return Err(Error::damaged("a commit log is missing"));
            }
            if number > applied {
                epochs.push(Epoch { number, commits: records(file, number)? });
            }
        }
        epochs.sort_by_key(|epoch| epoch.number);
        let in_a_row = (applied + 1..).zip(&epochs).all(|(number, epoch)| epoch.number == number);
        in_a_row.then_some(epochs).ok_or_else(|| Error::damaged("a commit log is missing"))
    }

    /// Begins an epoch in its file, whose commits sled must have.
    pub(in crate::queue::sled) fn begin(&mut self, epoch: u64) -> io::Result<()> {
        (self.epoch, self.end) = (epoch, RECORDS_AT);
        if self.file().metadata()?.len() > self.bytes {
            self.file().set_len(self.bytes)?;
        }
        self.file().write_all_at(&header_of(epoch), 0)
    }

    /// Returns the epoch that is being written.
    pub(in crate::queue::sled) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns true if the epoch has no record yet.
    pub(in crate::queue::sled) const fn is_empty(&self) -> bool {
        self.end == RECORDS_AT
    }

    /// Returns true if these changes do not fit into the rest of a file that has records.
    pub(in crate::queue::sled) fn is_full_for(&self, writes: &WriteBatch) -> bool {
        !self.is_empty() && self.end + record_bytes(writes) as u64 > self.bytes
    }

    /// Appends a record, and waits until it is on the disk.
    pub(in crate::queue::sled) fn append(&mut self, writes: &WriteBatch) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        write_record(&mut buffer, self.epoch, writes)?;
        self.file().write_all_at(&buffer, self.end)?;
        self.file().sync_data()?;
        self.end += buffer.len() as u64;
        self.buffer = buffer;
        Ok(())
    }

    fn file(&self) -> &File {
        &self.files[(self.epoch % 2) as usize]
    }
}

fn open_file(path: &Path, bytes: u64, new: bool) -> Result<File, Error> {
    if !new {
        return open_whole(path, bytes);
    }
    let mut options = OpenOptions::new();
    let mut file = regular::open_with(path, options.read(true).write(true).create(true).truncate(true))
        .map_err(of_io)?;
    io::copy(&mut io::repeat(0).take(bytes), &mut file).map_err(storage)?;
    file.sync_all().map_err(storage)?;
    Ok(file)
}

fn open_whole(path: &Path, bytes: u64) -> Result<File, Error> {
    let file = match regular::open_with(path, OpenOptions::new().read(true).write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::damaged("a commit log is missing"));
        }
        opened => opened.map_err(of_io)?,
    };
    let whole = file.metadata().map_err(of_io)?.len() >= bytes;
    whole.then_some(file).ok_or_else(|| Error::damaged("a commit log was cut"))
}

/// Returns the epoch in the header of a file; `None` if no epoch was begun in the file.
fn header(header: &[u8; HEADER_BYTES], parity: u64) -> Result<Option<u64>, Error> {
    let damaged = || Error::damaged("the head of a commit log is not what was written");
    if *header == [0; HEADER_BYTES] {
        return Ok(None);
    }
    let epoch = header[12..20].try_into().map(u64::from_le_bytes).map_err(|_| damaged())?;
    let holds = *header == header_of(epoch) && epoch % 2 == parity;
    holds.then_some(Some(epoch)).ok_or_else(damaged)
}

fn header_of(epoch: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&epoch.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Reads the commits of an epoch, and little beyond the last record.
fn records(mut file: &File, epoch: u64) -> Result<Vec<WriteBatch>, Error> {
    file.seek(io::SeekFrom::Start(RECORDS_AT)).map_err(of_io)?;
    let mut stored = io::BufReader::new(file);
    let (mut commits, mut end) = (Vec::new(), RECORDS_AT);
    while let Some(writes) = read_record(&mut stored, epoch).map_err(of_io)? {
        end += record_bytes(&writes) as u64;
        commits.push(writes);
    }
    if goes_on_behind(file, end, epoch).map_err(of_io)? {
        return Err(Error::damaged("what is in the middle of a commit log is not what was written"));
    }
    Ok(commits)
}

/// Returns true if a record of the epoch follows an invalid one.
fn goes_on_behind(mut file: &File, end: u64, epoch: u64) -> io::Result<bool> {
    file.seek(io::SeekFrom::Start(end))?;
    let mut behind = Vec::new();
    file.take(LOOK_AHEAD_BYTES).read_to_end(&mut behind)?;
    let number = epoch.to_le_bytes();
    let prefixes =
        behind.windows(PREFIX_BYTES).enumerate().skip(1).filter(|(_, prefix)| prefix[8..] == number);
    for (at, _) in prefixes {
        if read_record(&mut &behind[at..], epoch)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_record(stored: &mut impl Read, epoch: u64) -> io::Result<Option<WriteBatch>> {
    let mut prefix = [0; PREFIX_BYTES];
    match stored.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [crc_of_rest, length] =
        [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| prefix[at + byte])));
    if prefix[8..] != epoch.to_le_bytes() {
        return Ok(None);
    }
    // The length may be any number if the record is damaged.
    let mut changes = Vec::new();
    stored.take(length.into()).read_to_end(&mut changes)?;
    let holds = changes.len() == length as usize && crc(&prefix[4..], &changes) == crc_of_rest;
    Ok(holds.then(|| read_changes(&changes)).flatten())
}

fn read_changes(mut stored: &[u8]) -> Option<WriteBatch> {
    let mut writes = WriteBatch::default();
    while let Some((prefix, rest)) = stored.split_first_chunk::<CHANGE_BYTES>() {
        let key_bytes = u16::from_le_bytes(prefix[1..3].try_into().ok()?);
        let value_bytes = u32::from_le_bytes(prefix[3..].try_into().ok()?);
        let (key, rest) = rest.split_at_checked(usize::from(key_bytes))?;
        let (value, rest) = rest.split_at_checked(value_bytes as usize)?;
        let change = match prefix[0] {
            0 => Change::Remove,
            // `fresh` would be wrong: sled may already have a part of the epoch.
            1 => Change::Put { value: Bytes::copy_from_slice(value), fresh: false },
            _ => return None,
        };
        writes.push(key.to_vec(), change);
        stored = rest;
    }
    Some(writes)
}

fn record_bytes(writes: &WriteBatch) -> usize {
    let change = |(key, change): (&[u8], &Change)| {
        let value_bytes = if let Change::Put { value, .. } = change { value.len() } else { 0 };
        CHANGE_BYTES + key.len() + value_bytes
    };
    PREFIX_BYTES + writes.iter().map(change).sum::<usize>()
}

fn write_record(buffer: &mut Vec<u8>, epoch: u64, writes: &WriteBatch) -> io::Result<()> {
    let too_large = |_| io::Error::other("a commit of 4 GiB cannot be written");
    let length = u32::try_from(record_bytes(writes) - PREFIX_BYTES).map_err(too_large)?;
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&epoch.to_le_bytes());
    for (key, change) in writes.iter() {
        let (kind, value) = match change {
            Change::Remove => (0, &[][..]),
            Change::Put { value, .. } => (1, value.as_ref()),
        };
        let key_bytes = u16::try_from(key.len()).map_err(io::Error::other)?;
        buffer.write_all(&[kind])?;
        buffer.write_all(&key_bytes.to_le_bytes())?;
        buffer.write_all(&(value.len() as u32).to_le_bytes())?;
        buffer.write_all(key)?;
        buffer.write_all(value)?;
    }
    let crc = crc(&buffer[4..PREFIX_BYTES], &buffer[PREFIX_BYTES..]);
    buffer[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn crc(prefix: &[u8], changes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix);
    hasher.update(changes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn commit(number: u8) -> WriteBatch {
        let mut writes = WriteBatch::default();
        writes.insert(vec![number; 3], vec![number; 100].into(), false);
        writes.remove(vec![number]);
        writes
    }

    fn written(directory: &Path, epoch: u64, commits: u8) -> Journal {
        let new = !directory.join(NAMES[0]).exists();
        let mut journal = Journal::open(directory, 16 << 10, new).unwrap();
        journal.begin(epoch).unwrap();
        for number in 0..commits {
            journal.append(&commit(number)).unwrap();
        }
        journal
    }

    fn found(directory: &Path, applied: u64) -> Vec<(u64, Vec<WriteBatch>)> {
        let new = !directory.join(NAMES[0]).exists();
        let journal = Journal::open(directory, 16 << 10, new).unwrap();
        let epochs = journal.epochs_after(applied).unwrap();
        epochs.into_iter().map(|epoch| (epoch.number, epoch.commits)).collect()
    }

    #[test]
    fn committed_records_are_found_after_reopening() {
        let directory = TempDir::new().unwrap();
        assert!(found(directory.path(), 0).is_empty());
        written(directory.path(), 1, 3);
        written(directory.path(), 2, 2);
        let expected = [(1, vec![commit(0), commit(1), commit(2)]), (2, vec![commit(0), commit(1)])];
        assert_eq!(found(directory.path(), 0), expected);
        assert_eq!(found(directory.path(), 1), expected[1..]);
        // Records of an earlier epoch in the same file are not read as records of the later one.
        written(directory.path(), 3, 1);
        assert_eq!(found(directory.path(), 2), [(3, vec![commit(0)])]);
    }

    #[test]
    fn a_torn_record_ends_the_log_and_a_gap_is_damage() {
        let directory = TempDir::new().unwrap();
        written(directory.path(), 1, 3);
        let path = directory.path().join(NAMES[1]);
        let whole = std::fs::read(&path).unwrap();
        let third = RECORDS_AT as usize + 2 * record_bytes(&commit(0));
        for torn in third..third + record_bytes(&commit(0)) {
            let mut bytes = whole.clone();
            bytes[torn..].fill(0);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(found(directory.path(), 0)[0].1.len(), 2, "{torn}");
        }
        let journal = written(directory.path(), 5, 1);
        assert!(matches!(journal.epochs_after(2), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_commit_that_is_damaged_in_the_middle_is_not_the_end() {
        let directory = TempDir::new().unwrap();
        written(directory.path(), 1, 3);
        let path = directory.path().join(NAMES[1]);
        let whole = std::fs::read(&path).unwrap();
        let second = RECORDS_AT as usize + record_bytes(&commit(0));
        for damaged in second..second + record_bytes(&commit(0)) {
            let mut bytes = whole.clone();
            bytes[damaged] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let journal = Journal::open(directory.path(), 16 << 10, false).unwrap();
            assert!(matches!(journal.epochs_after(0), Err(Error::Damaged(_))), "{damaged}");
        }
    }

    #[test]
    fn a_file_that_is_gone_or_cut_or_emptied_is_damage() {
        let cut = |path: &Path| File::options().write(true).open(path).unwrap().set_len(5_000).unwrap();
        let empty = |path: &Path| std::fs::write(path, vec![0; 16 << 10]).unwrap();
        let remove = |path: &Path| std::fs::remove_file(path).unwrap();
        let damages: [&dyn Fn(&Path); 3] = [&remove, &cut, &empty];
        for (damage, name) in damages.into_iter().flat_map(|damage| NAMES.map(|name| (damage, name))) {
            let directory = TempDir::new().unwrap();
            written(directory.path(), 1, 1);
            written(directory.path(), 2, 1);
            written(directory.path(), 3, 1);
            damage(&directory.path().join(name));
            let found =
                Journal::open(directory.path(), 16 << 10, false).and_then(|journal| journal.epochs_after(2));
            assert!(matches!(found, Err(Error::Damaged(_))), "{name}: {found:?}");
        }
    }
}
