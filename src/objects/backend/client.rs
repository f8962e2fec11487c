//! A client of the `object_store` crate that uses the keys and errors of `objects`.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio_util::io::ReaderStream;

use super::{Chunks, Found};
use crate::objects::{Error, Key, Prefix, Removed};
use crate::runtime::clock::Timestamp;
use crate::system::open_files::patiently_async;

/// The size of a chunk of a streamed file.
const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Client(pub(super) Arc<dyn ObjectStore>);

impl Client {
    pub(super) async fn head(&self, key: &Key) -> Result<Found, Error> {
        let found = self.0.head(&key.path()).await.map_err(|error| Error::from_store(key, error))?;
        Ok(attributes(found))
    }

    pub(super) async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let path = key.path();
        let open = || self.0.get_opts(&path, options.clone());
        let got = patiently_async(open).await.map_err(|error| Error::from_store(key, error))?;
        let found = attributes(got.meta.clone());
        let is_whole = got.range == (0..found.size);
        let chunks = match got.payload {
            GetResultPayload::File(file, _) if is_whole => {
                let file = tokio::fs::File::from_std(file);
                ReaderStream::with_capacity(file, CHUNK_BYTES).map_err(Error::from).boxed()
            }
            _ => got.into_stream().map_err(Error::from).boxed(),
        };
        Ok((found, chunks))
    }

    /// Removes an object; returns false if there was none.
    pub(super) async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let existed = match self.head(key).await {
            Ok(_) => true,
            Err(Error::Missing { .. }) => false,
            Err(error) => return Err(error),
        };
        match self.0.delete(&key.path()).await {
            Ok(()) => Ok(existed),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let bytes = Arc::new(AtomicU64::new(0));
        let listed = Arc::clone(&bytes);
        let found = self.0.list(Some(&prefix.path())).map_ok(move |object| {
            listed.fetch_add(object.size, Ordering::Relaxed);
            object.location
        });
        let deleted = self.0.delete_stream(found.boxed());
        let objects = deleted.try_fold(0, |count, _| async move { Ok(count + 1) }).await?;
        Ok(Removed { objects, bytes: bytes.load(Ordering::Relaxed) })
    }

    /// Fails if there is an object below `prefix`, where all objects have just been removed.
    pub(super) async fn expect_empty(&self, prefix: &Prefix) -> Result<(), Error> {
        match self.0.list(Some(&prefix.path())).try_next().await? {
            None => Ok(()),
            Some(left) => {
                let text = format!("{} appeared while {prefix} was removed", left.location);
                Err(io::Error::other(text).into())
            }
        }
    }

    pub(super) async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        let found = self.0.list_with_delimiter(Some(&prefix.path())).await?;
        let names = found.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        Ok(names.map(str::to_owned).collect())
    }
}

fn attributes(found: ObjectMeta) -> Found {
    Found {
        size: found.size,
        modified: Timestamp::from_micros(found.last_modified.timestamp_micros()),
        etag: found.e_tag.unwrap_or_default(),
    }
}
