//! Pair files in a version that older workers read, for as long as a worker reads them.

use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::objects::{Error, Key, Objects};
use crate::runtime::clock::Stopwatch;
use crate::worker::older_pairs::{Translation, translate};

/// The maximum number of translations. A worker opens fewer files at once.
const KEPT: usize = 256;
/// The time since its last use after which a translation is dropped.
const UNUSED: Duration = Duration::from_secs(20);

/// The translations. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Translated(Arc<Mutex<Vec<Known>>>);

struct Known {
    key: Key,
    used: Stopwatch,
    made: Made,
}

/// A translation once it is made; `None` if the object needs none.
type Made = Arc<OnceCell<Option<Arc<Mutex<Translation>>>>>;

impl Translated {
    /// Returns a range of the translation of a pair file, which is cut at its end, and the size of the translation. Returns
    /// `None` if the file needs no translation.
    ///
    /// # Errors
    /// The errors of [`translate`].
    pub(super) async fn piece(
        &self,
        objects: &Objects,
        key: &Key,
        (from, bytes): (u64, u64),
    ) -> Result<Option<(Bytes, u64)>, Error> {
        let made = self.of(key);
        let (objects, key) = (objects.clone(), key.clone());
        let make = || async move {
            let made = spawn_blocking(move || translate(&objects, &key)).await??;
            Ok::<_, Error>(made.map(|made| Arc::new(Mutex::new(made))))
        };
        let Some(file) = made.get_or_try_init(make).await?.clone() else { return Ok(None) };
        Ok(Some(spawn_blocking(move || read(&mut file.lock(), from, bytes)).await??))
    }

    fn of(&self, key: &Key) -> Made {
        let mut known = self.0.lock();
        if let Some(known) = known.iter_mut().find(|known| known.key == *key) {
            known.used = Stopwatch::start();
            return Arc::clone(&known.made);
        }
        if known.len() >= KEPT {
            let oldest = known.iter().enumerate().max_by_key(|(_, known)| known.used.elapsed());
            oldest.map(|(place, _)| place).map(|place| known.swap_remove(place));
        }
        let made = Made::default();
        known.push(Known { key: key.clone(), used: Stopwatch::start(), made: Arc::clone(&made) });
        if known.len() == 1 {
            tokio::spawn(self.clone().sweep());
        }
        made
    }

    /// Drops translations that are no longer used, until none is left.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(UNUSED).await;
            let mut known = self.0.lock();
            known.retain(|known| known.used.elapsed() < UNUSED);
            if known.is_empty() {
                return;
            }
        }
    }
}

fn read((file, size): &mut Translation, from: u64, bytes: u64) -> io::Result<(Bytes, u64)> {
    let count = size.saturating_sub(from).min(bytes);
    let mut piece = vec![0; count as usize];
    if count > 0 {
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut piece)?;
    }
    Ok((piece.into(), *size))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use linkage::pairs::{Pair, Version, Writer};
    use tempfile::TempDir;

    use super::*;
    use crate::model::{ProjectId, RunId};
    use crate::objects::keys;

    fn written(version: Version) -> Vec<u8> {
        let mut writer = Writer::of(version, Vec::new());
        for at in 0..1_000 {
            writer.push(&Pair { score: 0.75, datasets: [0, 1], records: [at, 3 * at] }).unwrap();
        }
        let mut bytes = writer.finish().unwrap().0;
        let (count, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
        bytes.extend(count.to_le_bytes());
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    #[tokio::test]
    async fn pieces_are_those_of_version_1() {
        let dir = TempDir::new().unwrap();
        let objects = Objects::open(&dir.path().join("objects"), &dir.path().join("spool")).unwrap();
        let key = |part| keys::pairs(ProjectId::from_bytes([1; 24]), RunId::from_bytes([2; 24]), part);
        let plain = written(Version::Plain);
        for (part, bytes) in [&written(Version::Dense), &plain].into_iter().enumerate() {
            let mut staged = objects.stage();
            staged.write_all(bytes).unwrap();
            staged.publish(&key(part as u32)).await.unwrap();
        }
        let translated = Translated::default();
        let size = plain.len() as u64;
        for (from, bytes, expected) in [
            (0, 0, &[][..]),
            (0, 5_000, &plain[..5_000]),
            (5_000, u64::MAX, &plain[5_000..]),
            (size + 1, 9, &[]),
        ] {
            let piece = translated.piece(&objects, &key(0), (from, bytes)).await.unwrap();
            assert!(piece == Some((Bytes::copy_from_slice(expected), size)), "from {from}");
        }
        assert!(translated.piece(&objects, &key(1), (0, 9)).await.unwrap().is_none());
        assert!(matches!(translated.piece(&objects, &key(2), (0, 9)).await, Err(Error::Missing { .. })));
    }
}
