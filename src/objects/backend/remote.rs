//! The backend of objects in a remote store. Uploads and downloads are streams.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::client::Client;
use super::{Backend, Chunks, Found};
use crate::objects::blob::Stamp;
use crate::objects::{Blob, Error, Key, ObjectFile, Prefix, Removed, keys};
use crate::system::open_files::{patiently, patiently_async};

/// The size of each part of a multipart upload except the last. Smaller objects are uploaded whole.
const PART_BYTES: u64 = 8 << 20;
/// The maximum number of parts that are uploaded concurrently.
const PARTS: usize = 4;

/// Objects in a store of the `object_store` crate. They are downloaded to files without names.
#[derive(Debug)]
pub(in crate::objects) struct Remote {
    client: Client,
    runtime: Handle,
    /// The directory of downloaded files.
    staging: PathBuf,
}

impl Remote {
    /// Returns the objects of `store`. Blocking threads use `runtime` to call the store.
    pub(in crate::objects) fn new(store: Arc<dyn ObjectStore>, runtime: Handle, staging: &Path) -> Self {
        Self { client: Client(store), runtime, staging: staging.to_owned() }
    }
}

#[async_trait]
impl Backend for Remote {
    async fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        upload(&*self.client.0, file, key).await
    }

    async fn head(&self, key: &Key) -> Result<Found, Error> {
        self.client.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error> {
        self.client.get(key, range).await
    }

    fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        let copy = patiently(|| tempfile::tempfile_in(&self.staging))?;
        self.runtime.block_on(async { save(self.get(key, None).await?, key, copy).await })
    }

    async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        // Only this process can access a file without a name, so it does not change.
        let Some(path) = blob.copy().map(Path::to_owned) else { return Ok(true) };
        let stamp = blob.stamp();
        let found = spawn_blocking(move || fs::metadata(path)).await?;
        Ok(found.map_or(true, |found| Stamp::of(&found) == stamp))
    }

    async fn delete(&self, key: &Key) -> Result<bool, Error> {
        self.client.delete(key).await
    }

    async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let removed = self.client.delete_prefix(prefix).await?;
        self.client.expect_empty(prefix).await.map(|()| removed)
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        self.client.children(prefix).await
    }

    async fn probe(&self) -> Result<(), Error> {
        // Only a listing distinguishes a missing bucket from a missing object.
        self.client.children(&keys::probe()).await.map(drop)
    }
}

/// Uploads a complete file as the object `key`. An existing object is not replaced.
async fn upload(store: &dyn ObjectStore, file: NamedTempFile, key: &Key) -> Result<(), Error> {
    let size = file.as_file().metadata()?.len();
    let mut source = patiently_async(|| tokio::fs::File::open(file.path())).await?;
    if size <= PART_BYTES {
        let mut bytes = Vec::with_capacity(size as usize);
        source.read_to_end(&mut bytes).await?;
        return upload_whole(store, bytes, key).await;
    }
    match store.head(&key.path()).await {
        Err(object_store::Error::NotFound { .. }) => upload_in_parts(store, source, key).await,
        there => there.map(|_| ()).map_err(Error::from),
    }
}

async fn upload_whole(store: &dyn ObjectStore, bytes: Vec<u8>, key: &Key) -> Result<(), Error> {
    let bytes = PutPayload::from(bytes);
    match store.put_opts(&key.path(), bytes.clone(), PutMode::Create.into()).await {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        // The operator has declared that this store supports no conditions. Overwriting is safe: objects with the same
        // key have the same bytes.
        Err(object_store::Error::NotImplemented { .. }) => {
            store.put(&key.path(), bytes).await.map(|_| ()).map_err(Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

async fn upload_in_parts(
    store: &dyn ObjectStore,
    mut source: tokio::fs::File,
    key: &Key,
) -> Result<(), Error> {
    let upload = store.put_multipart(&key.path()).await?;
    let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES as usize);
    match feed(&mut parts, &mut source).await {
        Ok(()) => parts.finish().await.map(|_| ()).map_err(Error::from),
        Err(error) => {
            // If the abort fails, too, the parts are left to the store's rules for incomplete uploads.
            let _ = parts.abort().await;
            Err(error)
        }
    }
}

async fn feed(parts: &mut WriteMultipart, source: &mut tokio::fs::File) -> Result<(), Error> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        parts.wait_for_capacity(PARTS).await?;
        parts.write(&buffer[..count]);
    }
}

/// Writes the stream into `file`, and rewinds it.
pub(in crate::objects) async fn save(
    (found, chunks): (Found, Chunks),
    key: &Key,
    mut file: File,
) -> Result<ObjectFile, Error> {
    receive((found, chunks), key, &mut file).await?;
    file.rewind()?;
    Ok(ObjectFile::whole(file)?)
}

/// Writes the stream to `out`, and checks that the object is complete.
pub(in crate::objects) async fn receive(
    (found, mut chunks): (Found, Chunks),
    key: &Key,
    out: &mut (impl Write + Send),
) -> Result<(), Error> {
    let mut received = 0;
    while let Some(chunk) = chunks.try_next().await? {
        out.write_all(&chunk)?;
        received += chunk.len() as u64;
    }
    if received == found.size {
        return Ok(());
    }
    let reason = format!("{received} bytes arrived of {}", found.size);
    Err(Error::Damaged { key: key.clone(), reason })
}
