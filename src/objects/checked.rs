//! Streams an object and verifies its checksum.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Chunks, Error, Key, Objects};
use crate::model::Checksum;

/// The maximum size of an object that is checked before its first byte is sent.
const CHECKED_FIRST_BYTES: u64 = 1 << 20;

impl Objects {
    /// Returns the object's bytes like [`stream`](Self::stream), and verifies their checksum. A small object is
    /// verified before this returns. For a larger one, an error replaces the last chunk if the checksum is wrong.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::Storage`]; the stream may return the latter two.
    pub async fn stream_checked(&self, key: &Key, checksum: &Checksum) -> Result<(u64, Chunks), Error> {
        let (size, chunks) = self.stream(key).await?;
        if size != checksum.bytes {
            let reason = format!("it has {size} bytes, and had {}", checksum.bytes);
            return Err(Error::Damaged { key: key.clone(), reason });
        }
        let checked = checked(chunks, key.clone(), checksum.crc32);
        if size > CHECKED_FIRST_BYTES {
            return Ok((size, checked));
        }
        let pieces: Vec<_> = checked.try_collect().await?;
        Ok((size, stream::iter(pieces.into_iter().map(Ok)).boxed()))
    }
}

/// Verifies the checksum of a stream. The output is one chunk behind the input, so that the last chunk waits for the
/// checksum.
fn checked(chunks: Chunks, key: Key, expected: u32) -> Chunks {
    let start = (chunks.fuse(), crc32fast::Hasher::new(), None);
    let pieces = stream::try_unfold(start, move |(mut chunks, mut crc, mut held)| {
        let key = key.clone();
        async move {
            while let Some(piece) = chunks.try_next().await? {
                crc.update(&piece);
                if let Some(before) = held.replace(piece) {
                    return Ok(Some((before, (chunks, crc, held))));
                }
            }
            if held.is_some() && crc.clone().finalize() != expected {
                return Err(Error::Damaged { key, reason: "it is not what was written".to_owned() });
            }
            Ok(held.take().map(|last| (last, (chunks, crc, held))))
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::objects::keys;

    async fn read(pieces: &[&'static [u8]], expected: u32) -> (usize, bool) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
        let mut chunks = checked(stream::iter(pieces).boxed(), keys::client_file("x"), expected);
        let mut bytes = 0;
        while let Some(piece) = chunks.next().await {
            let Ok(piece) = piece else { return (bytes, false) };
            bytes += piece.len();
        }
        (bytes, true)
    }

    #[tokio::test]
    async fn the_last_piece_comes_if_all_are_what_was_written() {
        let crc = crc32fast::hash(b"one two three");
        assert_eq!(read(&[b"one ", b"two ", b"three"], crc).await, (13, true));
        assert_eq!(read(&[b"one ", b"too ", b"three"], crc).await, (8, false));
        assert_eq!(read(&[b"one two three"], crc).await, (13, true));
        assert_eq!(read(&[b"one two thrice"], crc).await, (0, false));
        assert_eq!(read(&[], 0).await, (0, true));
    }
}
