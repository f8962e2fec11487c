//! Objects in a store beyond this machine: what is written goes up as a stream, what is read comes
//! down as a stream.

use std::fs::File;
use std::io::{Seek, Write};

use futures::TryStreamExt;
use object_store::{GetResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;

use super::{Error, Key, ObjectFile};
use crate::system::open_files::patiently_async;

/// Bytes in a part of an upload, all but the last; smaller objects go up whole.
const PART_BYTES: u64 = 8 << 20;
/// Parts under way at once.
const PARTS: usize = 4;

/// Uploads a complete file as the object `key`. Where the object exists, it stays.
pub(super) async fn upload(store: &dyn ObjectStore, file: NamedTempFile, key: &Key) -> Result<(), Error> {
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
        // The operator has said that this store knows no conditions. What has the same key has the same bytes.
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
            // What is left of the upload when even this fails is for the store's own rules to clear.
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

/// Downloads the object `key` into `file`, and goes back to its start.
pub(super) async fn download(store: &dyn ObjectStore, key: &Key, file: File) -> Result<ObjectFile, Error> {
    let found = store.get(&key.path()).await.map_err(|error| Error::from_store(key, error))?;
    save(found, key, file).await
}

/// Writes what comes into `file`, and goes back to its start.
pub(super) async fn save(found: GetResult, key: &Key, mut file: File) -> Result<ObjectFile, Error> {
    receive(found, key, &mut file).await?;
    file.rewind()?;
    Ok(ObjectFile::whole(file)?)
}

/// Passes on what comes, and makes sure that it is all of it.
pub(super) async fn receive(found: GetResult, key: &Key, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let (size, mut received) = (found.meta.size, 0);
    let mut chunks = found.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        out.write_all(&chunk)?;
        received += chunk.len() as u64;
    }
    if received == size {
        return Ok(());
    }
    let reason = format!("{received} bytes came of {size}");
    Err(Error::Damaged { key: key.clone(), reason })
}
