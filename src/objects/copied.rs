//! Copies all objects of a store to another store.

use std::io::Write;
use std::pin::pin;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::task::block_in_place;

use super::{Error, Key, Objects};

/// The counts of objects in a copy of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The number of objects of the source.
    pub objects: u64,
    /// The total size of the objects.
    pub bytes: u64,
    /// The number of objects that the target had before.
    pub present: u64,
}

/// Copies every object of `from` that `to` does not have with the same SHA-256; `stored` is the store behind `to`.
/// Verifies each copy in the same way. Calls `show` with the share of the bytes that is done.
///
/// # Errors
/// [`Error::Full`], [`Error::Storage`]; [`Error::Damaged`] if a copy differs.
///
/// # Panics
/// If it is called in a single-threaded runtime.
pub async fn copy_all(
    from: &Arc<dyn ObjectStore>,
    (to, stored): (&Objects, &Arc<dyn ObjectStore>),
    show: &mut (dyn FnMut(f64) + Send),
) -> Result<Copied, Error> {
    let mut copied = Copied::default();
    let listed = || {
        from.list(None).try_filter_map(async |found| {
            Ok(Key::listed(found.location.as_ref()).map(|key| (key, found.size)))
        })
    };
    let all = listed().try_fold(0, async |sum, (_, size)| Ok(sum + size)).await?;
    let mut listed = pin!(listed());
    while let Some((key, size)) = listed.try_next().await? {
        if to.exists(&key).await? && digest(stored, &key).await? == digest(from, &key).await? {
            copied.present += 1;
        } else {
            copy(from, (to, stored), &key).await?;
        }
        copied.objects += 1;
        copied.bytes += size;
        show(copied.bytes as f64 / all.max(1) as f64);
    }
    Ok(copied)
}

async fn copy(
    from: &Arc<dyn ObjectStore>,
    (to, stored): (&Objects, &Arc<dyn ObjectStore>),
    key: &Key,
) -> Result<(), Error> {
    // Publishing does not replace an existing object, so the old one must be deleted.
    to.delete(key).await?;
    let mut chunks = from.get(&key.path()).await?.into_stream();
    let (mut staged, mut read) = (to.stage(), Sha256::new());
    while let Some(chunk) = chunks.try_next().await? {
        read.update(&chunk);
        block_in_place(|| staged.write_all(&chunk))?;
    }
    staged.publish(key).await?;
    if digest(stored, key).await? == <[u8; 32]>::from(read.finalize()) {
        return Ok(());
    }
    to.delete(key).await?;
    Err(Error::Damaged { key: key.clone(), reason: "its copy differs".to_owned() })
}

/// Returns the SHA-256 of an object.
async fn digest(store: &Arc<dyn ObjectStore>, key: &Key) -> Result<[u8; 32], Error> {
    let (mut chunks, mut read) = (store.get(&key.path()).await?.into_stream(), Sha256::new());
    while let Some(chunk) = chunks.try_next().await? {
        read.update(&chunk);
    }
    Ok(read.finalize().into())
}
