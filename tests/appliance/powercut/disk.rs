//! Models the content of a disk after a power cut.
//!
//! A write survives if a sync of its file began after the write and ended before the cut. Any block of another write
//! may survive. A change of a name survives if its folder was synced in the same way. Of the other changes of names,
//! the first ones may survive, as in a journaling file system.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use entityd::runtime::entropy::Entropy;

use super::trace::{Event, Operation, Trace};

/// The size of a block, which the disk writes atomically.
const BLOCK_BYTES: u64 = 4096;

/// The part of unsynced data that survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// Random blocks.
    Blocks,
    Everything,
}

pub(super) struct Recording(Trace);

/// The history of a file's content, independent of its name.
#[derive(Default)]
struct Contents<'a> {
    folder: bool,
    changes: Vec<&'a Event>,
    /// The number of changes that surely survive.
    synced: usize,
}

/// A change of a name: the file that it refers to afterwards, if any.
struct Naming {
    ended: usize,
    path: PathBuf,
    file: Option<usize>,
}

impl Recording {
    pub(super) fn of(trace: Trace) -> Self {
        Self(trace)
    }

    /// Returns the number of moments at which the power may be cut.
    pub(super) fn moments(&self) -> usize {
        self.0.events.last().map_or(0, |event| event.began) + 1
    }

    /// Returns the moment at which the workload begins to print its first line.
    pub(super) fn first_word(&self) -> usize {
        let word = self.0.events.iter().find(|event| matches!(event.operation, Operation::Word(_)));
        word.expect("the workload prints something").began
    }

    /// Returns the lines that the workload printed before the cut, as a verb and a name.
    pub(super) fn words_until(&self, cut: usize) -> impl Iterator<Item = (&str, &str)> {
        let until = self.0.events.iter().take_while(move |event| event.began < cut);
        until.filter_map(|event| match &event.operation {
            Operation::Word(words) => Some(words.split_once(' ').unwrap_or((words, ""))),
            _ => None,
        })
    }

    pub(super) fn syncs_between(&self, from: &str, to: &str) -> usize {
        let said = |words: &str| {
            let is = |event: &&Event| matches!(&event.operation, Operation::Word(said) if said == words);
            self.0.events.iter().find(is).expect("the workload prints it").began
        };
        let (from, to) = (said(from), said(to));
        let between = self.0.events.iter().filter(|event| event.began > from && event.ended < to);
        between.filter(|event| matches!(event.operation, Operation::Sync { .. })).count()
    }

    /// Returns the numbers of writes, syncs and bytes.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let mut size = (0, 0, 0);
        for event in &self.0.events {
            match &event.operation {
                Operation::Write { data, .. } => (size.0, size.2) = (size.0 + 1, size.2 + data.len()),
                Operation::Sync { .. } => size.1 += 1,
                _ => {}
            }
        }
        size
    }

    /// Returns the number of bytes written to a file, divided by its greatest length.
    pub(super) fn times_written(&self, name: &str) -> f64 {
        let (mut written, mut length) = (0, 0);
        for event in &self.0.events {
            if let Operation::Write { path, offset, data } = &event.operation
                && path.ends_with(name)
            {
                written += data.len();
                length = length.max(*offset as usize + data.len());
            }
        }
        written as f64 / length as f64
    }

    /// Writes the files into a folder with a content that they may have after a power cut at this moment.
    pub(super) fn rebuild(&self, cut: usize, kept: Kept, chance: &Entropy, into: &Path) {
        let (files, namings) = self.until(cut);
        let synced = self.synced_names(cut, &namings);
        let rest = namings.len() - synced;
        let more = match kept {
            Kept::Nothing => 0,
            Kept::Everything => rest,
            Kept::Blocks => u64::from_le_bytes(chance.bytes()) as usize % (rest + 1),
        };
        let mut names: BTreeMap<&Path, usize> = BTreeMap::new();
        for naming in &namings[..synced + more] {
            match naming.file {
                Some(file) => _ = names.insert(&naming.path, file),
                None => _ = names.remove(naming.path.as_path()),
            }
        }
        std::fs::create_dir_all(into).unwrap();
        for (path, file) in names {
            let path = into.join(path.strip_prefix(&self.0.root).unwrap());
            if files[file].folder {
                std::fs::create_dir_all(path).unwrap();
            } else if path.parent().is_some_and(Path::exists) {
                std::fs::write(path, files[file].rebuild(kept, chance)).unwrap();
            }
        }
    }

    /// Returns the content operations of each file and all changes of names before the cut.
    fn until(&self, cut: usize) -> (Vec<Contents<'_>>, Vec<Naming>) {
        let mut files: Vec<Contents<'_>> = Vec::new();
        let mut namings: Vec<Naming> = Vec::new();
        let mut now: HashMap<PathBuf, usize> = HashMap::new();
        for event in self.0.events.iter().take_while(|event| event.began < cut) {
            let mut name = |path: &Path, file| {
                let path = path.to_owned();
                namings.push(Naming { ended: event.ended, path, file });
            };
            match &event.operation {
                Operation::Make { path, folder } => {
                    if !now.contains_key(path) {
                        files.push(Contents { folder: *folder, ..Contents::default() });
                        now.insert(path.clone(), files.len() - 1);
                        name(path, Some(files.len() - 1));
                    }
                }
                Operation::Rename { from, to } => {
                    if let Some(file) = now.remove(from) {
                        now.insert(to.clone(), file);
                        name(from, None);
                        name(to, Some(file));
                    }
                }
                Operation::Remove { path } => {
                    now.remove(path);
                    name(path, None);
                }
                Operation::Write { path, .. } | Operation::Truncate { path, .. } => {
                    let file = now.get(path).unwrap_or_else(|| panic!("{} was never made", path.display()));
                    files[*file].changes.push(event);
                }
                Operation::Sync { path } if event.ended < cut => {
                    if let Some(file) = now.get(path) {
                        files[*file].sync(event);
                    }
                }
                Operation::Sync { .. } | Operation::Word(_) => {}
            }
        }
        (files, namings)
    }

    /// Counts the changes of names that surely survive: all up to the last one whose folder was synced afterwards.
    fn synced_names(&self, cut: usize, namings: &[Naming]) -> usize {
        let mut synced = 0;
        for event in self.0.events.iter().take_while(|event| event.began < cut) {
            let Operation::Sync { path } = &event.operation else { continue };
            if event.ended >= cut {
                continue;
            }
            let found = |naming: &Naming| naming.ended < event.began && naming.path.parent() == Some(path);
            synced = synced.max(namings.iter().rposition(found).map_or(0, |last| last + 1));
        }
        synced
    }
}

impl Contents<'_> {
    /// Marks the changes that had ended when the sync began as surviving.
    fn sync(&mut self, sync: &Event) {
        let unsure = self.changes[self.synced..].iter().position(|change| change.ended >= sync.began);
        self.synced = unsure.map_or(self.changes.len(), |unsure| self.synced + unsure);
    }

    fn rebuild(&self, kept: Kept, chance: &Entropy) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, change) in self.changes.iter().enumerate() {
            let surely = number < self.synced || kept == Kept::Everything;
            let maybe = || kept == Kept::Blocks && chance.bytes::<1>()[0].is_multiple_of(2);
            match &change.operation {
                Operation::Truncate { length, .. } if surely || maybe() => bytes.resize(*length as usize, 0),
                Operation::Write { offset, data, .. } => {
                    for (at, block) in blocks(*offset, data) {
                        if surely || maybe() {
                            put(&mut bytes, at, block);
                        }
                    }
                }
                _ => {}
            }
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, block: &[u8]) {
    if bytes.len() < at + block.len() {
        bytes.resize(at + block.len(), 0);
    }
    bytes[at..at + block.len()].copy_from_slice(block);
}

/// Splits a write at the borders of blocks. Returns the parts with their offsets.
fn blocks(offset: u64, data: &[u8]) -> Vec<(usize, &[u8])> {
    let (mut at, mut rest, mut blocks) = (offset, data, Vec::new());
    while !rest.is_empty() {
        let left = (BLOCK_BYTES - at % BLOCK_BYTES).min(rest.len() as u64);
        let (block, after) = rest.split_at(left as usize);
        blocks.push((at as usize, block));
        (at, rest) = (at + left, after);
    }
    blocks
}
