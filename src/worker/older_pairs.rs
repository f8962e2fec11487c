//! Translates pair files for workers of older versions, which read version 1 only.

use std::io::{self, Read, Seek};

use linkage::pairs::{self, DENSE_HEADER, Reader, Version, Writer};
use linkage::scratch::{Scratch, ScratchFile};

use super::checksummed::{ChecksumReader, ChecksumWriter};
use crate::objects::{Error, Key, Objects};

/// A temporary file, and its size.
pub type Translation = (Box<dyn ScratchFile>, u64);

/// Translates the pair file `key` to version 1, with a checksum of its own. Returns `None` if it has this version. Blocks.
///
/// # Errors
/// [`Error::Damaged`] if the object is not intact; the errors of [`Objects::read`] and of the temporary file.
pub fn translate(objects: &Objects, key: &Key) -> Result<Option<Translation>, Error> {
    let mut file = objects.read(key)?;
    let mut header = Vec::new();
    file.by_ref().take(DENSE_HEADER.len() as u64).read_to_end(&mut header)?;
    if header != DENSE_HEADER {
        return Ok(None);
    }
    file.rewind()?;
    let pairs = Reader::open(ChecksumReader::new(file, key.clone())).map_err(|error| failed(key, error))?;
    let mut writer = Writer::of(Version::Plain, ChecksumWriter::new(objects.file()?));
    for pair in pairs {
        pair.and_then(|pair| writer.push(&pair)).map_err(|error| failed(key, error))?;
    }
    let mut translated = writer.finish().map_err(|error| failed(key, error))?.0.finish()?;
    let size = translated.stream_position()?;
    Ok(Some((translated, size)))
}

fn failed(key: &Key, error: pairs::Error) -> Error {
    match error {
        pairs::Error::Read(error) => match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => error.into(),
        },
        pairs::Error::Write(error) => error.into(),
        error => Error::from(io::Error::new(io::ErrorKind::InvalidData, format!("{key}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use linkage::pairs::Pair;
    use tempfile::TempDir;

    use super::*;
    use crate::model::{ProjectId, RunId};
    use crate::objects::keys;

    fn key(part: u32) -> Key {
        keys::pairs(ProjectId::from_bytes([1; 24]), RunId::from_bytes([2; 24]), part)
    }

    fn pairs() -> Vec<Pair> {
        (0..5_000)
            .map(|at| Pair {
                score: 1.0 / f64::from(1 + at / 700),
                datasets: [0, 1 + at % 700 / 350],
                records: [at % 350, at],
            })
            .collect()
    }

    fn written(version: Version) -> Vec<u8> {
        let mut writer = Writer::of(version, ChecksumWriter::new(Vec::new()));
        pairs().iter().for_each(|pair| writer.push(pair).unwrap());
        writer.finish().unwrap().0.finish().unwrap()
    }

    async fn put(objects: &Objects, key: &Key, bytes: &[u8]) {
        let mut staged = objects.stage();
        staged.write_all(bytes).unwrap();
        staged.publish(key).await.unwrap();
    }

    #[tokio::test]
    async fn dense_pairs_are_translated_and_others_are_not() {
        let dir = TempDir::new().unwrap();
        let objects = Objects::open(&dir.path().join("objects"), &dir.path().join("spool")).unwrap();
        let (plain, dense) = (written(Version::Plain), written(Version::Dense));
        let mut changed = dense.clone();
        changed[3_000] ^= 1;
        let truncated = &dense[..dense.len() - 20];
        for (part, bytes) in [&plain[..], &dense, &changed, truncated].into_iter().enumerate() {
            put(&objects, &key(part as u32), bytes).await;
        }
        let translations =
            tokio::task::spawn_blocking(move || [0, 1, 2, 3].map(|part| translate(&objects, &key(part))));
        let [none, translated, changed, truncated] = translations.await.unwrap();
        assert!(none.unwrap().is_none());
        let (mut file, size) = translated.unwrap().unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == plain && size == plain.len() as u64);
        assert!(changed.is_err() && truncated.is_err());
    }
}
