//! A bucket as an [`ObjectStore`], so that jobs read files of clients in the same way as from any other store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{
    Algorithm, Buckets, Condition, Entry, Error, Head, Object, PUT_BYTES_MAX, Query, Upload, UploadName,
    UploadsQuery,
};
use crate::runtime::clock::Timestamp;

/// The maximum number of objects on a page of a listing.
const PAGE: u32 = 1_000;

/// One bucket as an object store. Cheap to clone. It has no access to keys that the `object_store` crate cannot
/// represent, such as those with `..` or two slashes in a row, and makes no multipart uploads.
#[derive(Clone, Debug)]
pub struct BucketStore {
    buckets: Buckets,
    bucket: Arc<str>,
}

impl BucketStore {
    /// Returns the bucket `name` of `buckets`, whether or not it exists yet.
    pub fn new(buckets: Buckets, name: &str) -> Self {
        Self { buckets, bucket: name.into() }
    }

    /// Removes every object whose key begins with `prefix`, and every multipart upload for such a key. Returns the
    /// number of objects. Includes keys that the `object_store` crate cannot represent.
    ///
    /// # Errors
    /// The errors of the store. Some objects may have been removed before an error.
    pub async fn remove_below(&self, prefix: &str) -> Result<u64> {
        let failed = |error| from(error, &Path::default());
        let mut count = 0;
        loop {
            let page = self.page(Query { prefix: prefix.to_owned(), max: PAGE, ..Query::default() }).await?;
            if page.entries.is_empty() {
                break;
            }
            for entry in page.entries {
                let removed = self.buckets.delete(&self.bucket, entry.name(), Condition::None).await;
                count += u64::from(removed.map_err(failed)?);
            }
        }
        loop {
            let query = UploadsQuery { prefix: prefix.to_owned(), max: PAGE, ..UploadsQuery::default() };
            let uploads = self.buckets.uploads(&self.bucket, query).await.map_err(failed)?.uploads;
            if uploads.is_empty() {
                return Ok(count);
            }
            for Upload { key, token, .. } in uploads {
                match self
                    .buckets
                    .abort_upload(UploadName { bucket: self.bucket.to_string(), key, token })
                    .await
                {
                    Ok(()) | Err(Error::NoSuchUpload) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        }
    }

    /// Erases the names of removed objects from the index, in all buckets.
    ///
    /// # Errors
    /// The errors of the store.
    pub async fn compact(&self) -> Result<()> {
        self.buckets.compact().await.map_err(|error| from(error, &Path::default()))
    }

    fn list_after(
        &self,
        prefix: Option<&Path>,
        after: Option<String>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let first = Some(Query { prefix: below(prefix), after, max: PAGE, ..Query::default() });
        let store = self.clone();
        let pages = stream::try_unfold(first, move |query| {
            let store = store.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let page = store.page(query.clone()).await?;
                let last = page.entries.last().map(|entry| entry.name().to_owned());
                let next = page.more.then_some(Query { after: last, ..query });
                let found: Vec<_> = page.entries.into_iter().filter_map(meta_of_entry).collect();
                Ok::<_, object_store::Error>(Some((stream::iter(found.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn page(&self, query: Query) -> Result<super::Page> {
        self.buckets.page(&self.bucket, query).await.map_err(|error| from(error, &Path::default()))
    }

    async fn remove(&self, location: Path) -> Result<Path> {
        let deleted = self.buckets.delete(&self.bucket, location.as_ref(), Condition::None).await;
        deleted.map_err(|error| from(error, &location))?;
        Ok(location)
    }
}

impl fmt::Display for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {}", self.bucket)
    }
}

#[async_trait]
impl ObjectStore for BucketStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let condition = match options.mode {
            PutMode::Overwrite => Condition::None,
            PutMode::Create => Condition::Absent,
            PutMode::Update(version) => version.e_tag.map_or(Condition::None, Condition::Etag),
        };
        let put = async {
            let mut incoming = self.buckets.incoming(&[] as &[Algorithm], PUT_BYTES_MAX);
            for bytes in payload {
                incoming.write(bytes).await?;
            }
            let (key, head) = (location.as_ref(), head_of(&options.attributes));
            self.buckets.put((&self.bucket, key), incoming.finish().await?, head, condition).await
        };
        let object = put.await.map_err(|error| from(error, location))?;
        Ok(PutResult { e_tag: Some(object.etag), version: None, extensions: options.extensions })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_supported("put_multipart_opts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let failed = |error| from(error, location);
        if options.head {
            let object = self.buckets.head(&self.bucket, location.as_ref()).await.map_err(failed)?;
            let (meta, attributes) = (meta(&object, location), attributes(&object.head));
            options.check_preconditions(&meta)?;
            let (range, payload) = (0..meta.size, GetResultPayload::Stream(stream::empty().boxed()));
            return Ok(GetResult { payload, meta, range, attributes, extensions: options.extensions });
        }
        let contents = self.buckets.get(&self.bucket, location.as_ref()).await.map_err(failed)?;
        let meta = meta(&contents.object, location);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|error| generic(Box::new(error)))?,
        };
        let attributes = attributes(&contents.object.head);
        let chunks = contents.stream(range.clone()).map_err(|error| generic(Box::new(error)));
        let payload = GetResultPayload::Stream(chunks.boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions: options.extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move { store.remove(location).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, Some(offset.as_ref().to_owned()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let delimiter = Some("/".to_owned());
        let mut query = Query { prefix: below(prefix), delimiter, max: PAGE, ..Query::default() };
        let mut found =
            ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: <_>::default() };
        loop {
            let page = self.page(query.clone()).await?;
            query.past_prefix = matches!(page.entries.last(), Some(Entry::Prefix(_)));
            query.after = page.entries.last().map(|entry| entry.name().to_owned());
            for entry in page.entries {
                match entry {
                    Entry::Prefix(prefix) => found.common_prefixes.extend(Path::parse(prefix).ok()),
                    entry @ Entry::Object { .. } => found.objects.extend(meta_of_entry(entry)),
                }
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_supported("copy_opts"))
    }
}

fn not_supported(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "BucketStore".to_owned(),
    }
}

/// Returns the prefix of keys below `prefix`.
fn below(prefix: Option<&Path>) -> String {
    prefix.filter(|prefix| !prefix.as_ref().is_empty()).map(|prefix| format!("{prefix}/")).unwrap_or_default()
}

fn meta(object: &Object, location: &Path) -> ObjectMeta {
    ObjectMeta {
        location: location.clone(),
        last_modified: moment(object.modified),
        size: object.size,
        e_tag: Some(object.etag.clone()),
        version: None,
    }
}

/// Returns an object of a listing; `None` for a key that is not a valid path.
fn meta_of_entry(entry: Entry) -> Option<ObjectMeta> {
    match entry {
        Entry::Object { key, size, etag, modified } => Some(ObjectMeta {
            location: Path::parse(key).ok()?,
            last_modified: moment(modified),
            size,
            e_tag: Some(etag),
            version: None,
        }),
        Entry::Prefix(_) => None,
    }
}

fn moment(time: Timestamp) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(time.as_micros()).unwrap_or_default()
}

fn attributes(head: &Head) -> Attributes {
    let known = [
        (Attribute::ContentType, &head.content_type),
        (Attribute::ContentEncoding, &head.content_encoding),
        (Attribute::ContentDisposition, &head.content_disposition),
        (Attribute::ContentLanguage, &head.content_language),
        (Attribute::CacheControl, &head.cache_control),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let own =
        head.metadata.iter().map(|(name, value)| (Attribute::Metadata(name.clone().into()), value.clone()));
    known.chain(own).collect()
}

fn head_of(attributes: &Attributes) -> Head {
    let mut head = Head::default();
    for (name, value) in attributes {
        let value = value.to_string();
        match name {
            Attribute::ContentType => head.content_type = Some(value),
            Attribute::ContentEncoding => head.content_encoding = Some(value),
            Attribute::ContentDisposition => head.content_disposition = Some(value),
            Attribute::ContentLanguage => head.content_language = Some(value),
            Attribute::CacheControl => head.cache_control = Some(value),
            Attribute::Metadata(name) => drop(head.metadata.insert(name.to_string(), value)),
            _ => {}
        }
    }
    head
}

fn from(error: Error, location: &Path) -> object_store::Error {
    let path = location.to_string();
    match error {
        Error::NoSuchBucket | Error::NoSuchKey => {
            object_store::Error::NotFound { path, source: Box::new(error) }
        }
        Error::Precondition => object_store::Error::AlreadyExists { path, source: Box::new(error) },
        error => generic(Box::new(error)),
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "BucketStore", source }
}
