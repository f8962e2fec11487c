//! The upload bucket, to which clients upload files. An upload refers to files in it, which are removed after they are
//! read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetResult, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use super::bucket_calls::BucketCalls;
use crate::buckets::BucketStore;
use crate::model::ProjectId;
use crate::objects::{Chunks, Error, Found, keys};
use crate::runtime::clock::Timestamp;
use crate::runtime::coding::{self, UnknownCoding};
use crate::telemetry::chain;

/// The maximum decoded size of a file with a content coding, as a multiple of its size. It protects the disk.
const EXPANSION_MAX: u64 = 1_000;

/// The upload bucket. Its keys begin with the project. Cheap to clone.
#[derive(Clone)]
pub struct UploadBucket {
    store: Arc<dyn ObjectStore>,
    /// Direct access to the same bucket, if this server stores it.
    own: Option<Arc<BucketStore>>,
    /// Direct calls to the same bucket, if it is in another S3 store.
    calls: Option<Arc<BucketCalls>>,
    /// The name of the bucket, for errors, if it is in another S3 store.
    name: Option<Arc<str>>,
    runtime: Handle,
}

impl fmt::Debug for UploadBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UploadBucket").field(&self.store).finish()
    }
}

/// An open file that a client uploaded.
pub struct ClientFile {
    size: u64,
    coding: String,
    metadata: BTreeMap<String, String>,
    chunks: Chunks,
    runtime: Handle,
}

/// A chunk of a client's file.
pub struct FilePiece {
    /// The bytes.
    pub bytes: Bytes,
    /// The attributes of the file.
    pub found: Found,
    /// The user metadata of the file, with `meta-` before each name, and its content coding as `coding`.
    pub attributes: BTreeMap<String, String>,
}

impl UploadBucket {
    /// Returns the bucket `store`.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, own: None, calls: None, name: None, runtime: Handle::current() }
    }

    /// Adds direct calls to the same bucket, which has this name, for files and parts that `object_store` cannot represent.
    #[must_use]
    pub fn with_calls(self, calls: BucketCalls, name: &str) -> Self {
        Self { calls: Some(Arc::new(calls)), name: Some(name.into()), ..self }
    }

    /// Adds the name of the bucket to an error of the store, which has another bucket for the objects.
    fn in_bucket(&self, error: Error) -> Error {
        match (&self.name, error) {
            (Some(name), Error::Storage(cause)) => {
                let cause = chain(cause.as_ref());
                Error::Storage(format!("the bucket {name} for uploads (--upload-bucket): {cause}").into())
            }
            (_, error) => error,
        }
    }

    /// Returns the upload bucket of this server's own store.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn own(bucket: BucketStore) -> Self {
        let own = Arc::new(bucket);
        Self { own: Some(Arc::clone(&own)), ..Self::new(own) }
    }

    /// Returns true if a file can have this key: it has no empty segment, no `.` or `..`, and no control characters.
    pub fn is_key(key: &str) -> bool {
        !key.is_empty() && Path::parse(key).is_ok_and(|path| path.as_ref() == key)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn open(&self, key: &str) -> Result<ClientFile, Error> {
        let found = self.store.get(&path(key)?).await;
        let found =
            found.map_err(|error| self.in_bucket(Error::from_store(&keys::client_file(key), error)))?;
        Ok(ClientFile::new(found, self.runtime.clone(), Error::from))
    }

    /// Reads a range of a file, up to the file's end, and its attributes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    pub async fn piece(&self, key: &str, from: u64, bytes: u64) -> Result<FilePiece, Error> {
        let path = path(key)?;
        let missing = |error| self.in_bucket(Error::from_store(&keys::client_file(key), error));
        let head = self.store.get_opts(&path, GetOptions { head: true, ..GetOptions::default() });
        let head = head.await.map_err(missing)?;
        let etag = head.meta.e_tag.clone().unwrap_or_default().trim_matches('"').to_owned();
        let modified = Timestamp::from_micros(head.meta.last_modified.timestamp_micros());
        let found = Found { size: head.meta.size, modified, etag };
        let mut attributes = BTreeMap::new();
        for (name, value) in &head.attributes {
            match name {
                Attribute::Metadata(name) => _ = attributes.insert(format!("meta-{name}"), value.to_string()),
                Attribute::ContentEncoding => _ = attributes.insert("coding".to_owned(), value.to_string()),
                _ => {}
            }
        }
        let end = found.size.min(from.saturating_add(bytes));
        let bytes = if end > from {
            self.store.get_range(&path, from..end).await.map_err(missing)?
        } else {
            Bytes::new()
        };
        Ok(FilePiece { bytes, found, attributes })
    }

    /// Removes a file; no error if there is none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.store.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.in_bucket(error.into())),
        }
    }

    /// Removes every file of a project, and returns their number. Also aborts unfinished multipart uploads, if the
    /// store permits that.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn delete_project(&self, project: ProjectId) -> Result<u64, Error> {
        let below = format!("{project}/");
        if let Some(own) = &self.own {
            return Ok(own.remove_below(&below).await?);
        }
        let named = self.delete_named(project).await;
        let Some(calls) = &self.calls else { return named };
        let count = match named {
            Ok(count) => count,
            // The listing fails if a single key cannot be represented.
            Err(_) => calls.delete_below(&below).await.map_err(|error| self.in_bucket(error))?,
        };
        calls.abort_below(&below).await.map_err(|error| self.in_bucket(error))?;
        Ok(count)
    }

    async fn delete_named(&self, project: ProjectId) -> Result<u64, Error> {
        let found = self.store.list(Some(&path(&project.to_string())?)).map_ok(|file| file.location).boxed();
        let deleted = self.store.delete_stream(found);
        Ok(deleted.try_fold(0, |count, _| async move { Ok(count + 1) }).await?)
    }

    /// Erases the names of removed files from the index, if this server stores the bucket.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn compact(&self) -> Result<(), Error> {
        match &self.own {
            Some(own) => Ok(own.compact().await?),
            None => Ok(()),
        }
    }

    /// Returns the projects that have files, in no particular order.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn projects(&self) -> Result<Vec<ProjectId>, Error> {
        let found = self.store.list_with_delimiter(None).await;
        let found = found.map_err(|error| self.in_bucket(error.into()))?;
        let names = found.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        Ok(names.filter_map(ProjectId::parse).collect())
    }
}

fn path(key: &str) -> Result<Path, Error> {
    Path::parse(key).map_err(|_| Error::Missing { key: keys::client_file(key) })
}

impl ClientFile {
    /// Returns the file in a store's response; `failed` converts errors of the transfer.
    pub(super) fn new(
        found: GetResult,
        runtime: Handle,
        failed: impl Fn(object_store::Error) -> Error + Send + 'static,
    ) -> Self {
        let metadata = found.attributes.iter().filter_map(|(name, value)| match name {
            Attribute::Metadata(name) => Some((name.to_ascii_lowercase(), value.to_string())),
            _ => None,
        });
        let coding = found.attributes.get(&Attribute::ContentEncoding);
        Self {
            size: found.meta.size,
            coding: coding.map(|coding| coding.as_ref().to_owned()).unwrap_or_default(),
            metadata: metadata.collect(),
            chunks: found.into_stream().map_err(failed).boxed(),
            runtime,
        }
    }

    /// Returns the maximum decoded size: the size of the file, or a multiple of it if the file has a content coding.
    pub const fn bytes_max(&self) -> u64 {
        if self.coding.is_empty() {
            self.size
        } else {
            self.size.saturating_mul(EXPANSION_MAX).saturating_add(1 << 20)
        }
    }

    /// Returns the value of the user metadata `name`, which must be in lower case.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// Returns a reader of the decoded bytes, at most [`bytes_max`](Self::bytes_max). Reading blocks, so it must not
    /// happen on threads of the async runtime.
    ///
    /// # Errors
    /// The content coding is unknown.
    pub fn into_reader(self) -> Result<impl Read + Send + 'static, UnknownCoding> {
        let bytes_max = self.bytes_max();
        let codings = coding::named([self.coding.as_str()])?;
        let chunks = coding::decode(self.chunks, &codings);
        Ok(Reader { chunks, runtime: self.runtime, chunk: Bytes::new() }.take(bytes_max))
    }
}

struct Reader {
    chunks: BoxStream<'static, io::Result<Bytes>>,
    runtime: Handle,
    chunk: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.chunks.next()) {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{Attributes, PutOptions, PutPayload};

    use super::*;

    async fn put(store: &InMemory, key: &str, bytes: &'static [u8]) {
        let attributes = Attributes::from_iter([(Attribute::Metadata("Hash-Count".into()), "3")]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        store.put_opts(&Path::parse(key).unwrap(), PutPayload::from_static(bytes), options).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_is_read_with_what_is_written_on_it_and_removed() {
        let (store, project) = (Arc::new(InMemory::new()), ProjectId::from_bytes([1; 24]));
        let (one, two) = (format!("{project}/0/a b.bin"), format!("{project}/1/x"));
        put(&store, &one, b"rows").await;
        put(&store, &two, b"x").await;
        put(&store, &format!("{project}1/x"), b"another").await;
        let uploads = UploadBucket::new(store);
        let file = uploads.open(&one).await.unwrap();
        assert_eq!(
            (file.bytes_max(), file.metadata("hash-count"), file.metadata("hash-size")),
            (4, Some("3"), None)
        );
        let read = tokio::task::spawn_blocking(move || io::read_to_string(file.into_reader().unwrap()));
        assert_eq!(read.await.unwrap().unwrap(), "rows");
        assert_eq!(uploads.projects().await.unwrap(), [project]);
        uploads.delete(&one).await.unwrap();
        uploads.delete(&one).await.unwrap();
        assert!(matches!(uploads.open(&one).await, Err(Error::Missing { .. })));
        assert_eq!(uploads.delete_project(project).await.unwrap(), 1);
        assert!(uploads.projects().await.unwrap().is_empty());
    }

    #[test]
    fn a_key_goes_nowhere_else() {
        assert!(UploadBucket::is_key("p/1/encodings.bin") && UploadBucket::is_key("p/1/a b%2Fc*?"));
        for key in ["", "/", "p//x", "/p/x", "p/x/", "p/../x", "p/./x", ".."] {
            assert!(!UploadBucket::is_key(key), "{key}");
        }
    }
}
