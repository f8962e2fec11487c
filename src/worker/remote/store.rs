//! The objects of API nodes as an [`ObjectStore`]. They are read in chunks and written whole, and only those of jobs
//! that this worker holds.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use linkage::pairs::Version;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyOptions, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};
use reqwest::{Body, Url};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::RemoteSource;
use super::error::CallError;
use super::nodes::{Nodes, Reply, at};
use super::tickets::Tickets;
use crate::worker::protocol::{
    ATTRIBUTES, CRC32, CopiesAnswer, CopiesRequest, MODIFIED, PIECE_BYTES, SIZE, TICKET, Ticket,
};

/// The time for which the transfer of a chunk or a small object is retried.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// The number of chunks of an object that are fetched concurrently.
const PIECES: usize = 3;
/// The name of this store in errors.
const NAME: &str = "API node";

/// The two kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Objects of the service.
    Objects,
    /// Files that clients have uploaded.
    Files,
}

impl Area {
    /// Returns the name of the area in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Files => "files",
        }
    }

    /// Returns the area with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Objects, Self::Files].into_iter().find(|area| area.name() == name)
    }
}

/// Objects of API nodes. Cheap to clone.
#[derive(Clone)]
pub struct RemoteStore {
    nodes: Nodes,
    tickets: Arc<Tickets>,
    area: Area,
}

/// The construction of a worker's source of jobs and its stores.
impl RemoteStore {
    /// Returns the source of jobs from `nodes`, the objects of the service, and the files of clients.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn join(nodes: &Nodes) -> (RemoteSource, Self, Self) {
        let tickets = Arc::<Tickets>::default();
        let store = |area| Self { nodes: nodes.clone(), tickets: Arc::clone(&tickets), area };
        (RemoteSource::new(nodes.clone(), Arc::clone(&tickets)), store(Area::Objects), store(Area::Files))
    }

    fn url(&self, base: &Url, location: &Path, range: Option<&Range<u64>>) -> Url {
        let mut url = at(base, "object");
        let mut query = url.query_pairs_mut();
        query.append_pair("area", self.area.name()).append_pair("key", location.as_ref());
        if let Some(range) = range {
            let bytes = range.end.saturating_sub(range.start);
            query.append_pair("from", &range.start.to_string()).append_pair("bytes", &bytes.to_string());
            query.append_pair("pairs", &Version::Dense.number().to_string());
        }
        drop(query);
        url
    }

    fn reading(&self, location: &Path) -> Option<Ticket> {
        match self.area {
            Area::Objects => self.tickets.for_reading(location.as_ref()),
            Area::Files => self.tickets.for_file(location.as_ref()),
        }
    }

    /// Fetches a chunk of an object; only its attributes if the range is empty.
    async fn piece(&self, location: &Path, ticket: &Ticket, range: Range<u64>) -> Result<Reply> {
        let ticket = ticket.to_header();
        let fetched = self.nodes.exchange(
            |client, base| client.get(self.url(base, location, Some(&range))).header(TICKET, &ticket),
            Duration::ZERO,
            RETRY_FOR,
        );
        fetched.await.map_err(|error| failed(location, error))
    }

    /// Returns the attributes of an object that no job of this worker reads now, to validate a cached copy.
    async fn attributes_of_copy(&self, location: &Path) -> Result<ObjectMeta> {
        let request = CopiesRequest { keys: vec![location.to_string()] };
        let answer: CopiesAnswer = self
            .nodes
            .call("copies", &request, Duration::ZERO, RETRY_FOR)
            .await
            .map_err(|error| failed(location, error))?;
        let found = answer.found.into_iter().next().flatten().ok_or_else(|| missing(location))?;
        Ok(ObjectMeta {
            location: location.clone(),
            last_modified: DateTime::from_timestamp_micros(found.modified.as_micros()).unwrap_or_default(),
            size: found.size,
            e_tag: Some(found.etag).filter(|etag| !etag.is_empty()),
            version: None,
        })
    }

    async fn upload(&self, location: &Path, body: Bytes) -> Result<()> {
        let ticket = self.writing(location)?.to_header();
        let crc32 = crc32fast::hash(&body);
        let sent = self.nodes.exchange(
            |client, base| {
                let request = client.put(self.url(base, location, None)).header(TICKET, &ticket);
                request.header(CRC32, crc32).header(SIZE, body.len()).body(body.clone())
            },
            Duration::from_mins(1),
            RETRY_FOR,
        );
        sent.await.map(drop).map_err(|error| failed(location, error))
    }

    fn writing(&self, location: &Path) -> Result<Ticket> {
        let ticket = match self.area {
            Area::Objects => self.tickets.for_writing(location.as_ref()),
            Area::Files => None,
        };
        ticket.ok_or_else(|| not_held(location))
    }
}

fn missing(location: &Path) -> Error {
    Error::NotFound { path: location.to_string(), source: "there is no such object".into() }
}

fn not_held(location: &Path) -> Error {
    Error::Generic { store: NAME, source: format!("no job of this worker uses {location}").into() }
}

fn failed(location: &Path, error: CallError) -> Error {
    match error {
        CallError::Rejected { status: StatusCode::NOT_FOUND, .. } => missing(location),
        error => Error::Generic { store: NAME, source: Box::new(error) },
    }
}

fn unsupported(operation: &'static str) -> Error {
    Error::NotSupported { source: format!("a worker cannot {operation} objects of an API node").into() }
}

/// Parses the attributes of an object in the headers of an answer.
fn meta(location: &Path, headers: &HeaderMap) -> Result<ObjectMeta> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
    let size = number(SIZE).and_then(|size| u64::try_from(size).ok());
    Ok(ObjectMeta {
        location: location.clone(),
        last_modified: number(MODIFIED).and_then(DateTime::from_timestamp_micros).unwrap_or_default(),
        size: size.ok_or_else(|| Error::Generic {
            store: NAME,
            source: "an answer lacks the size of the object".into(),
        })?,
        e_tag: text("etag").map(|etag| etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty()),
        version: None,
    })
}

/// Parses the user metadata of a client's file.
fn attributes(headers: &HeaderMap) -> Attributes {
    let text = headers.get(ATTRIBUTES).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    let named = |name: String| match name.strip_prefix("meta-") {
        Some(name) => Attribute::Metadata(name.to_owned().into()),
        None => Attribute::ContentEncoding,
    };
    given.map(|(name, value)| (named(name), value)).collect()
}

impl fmt::Display for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.area.name(), self.nodes.urls())
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for RemoteStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.upload(location, Bytes::from(payload)).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Extensions::default() })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Streamed::start(self, location)?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(ticket) = self.reading(location) else {
            if options.head && self.area == Area::Objects {
                let meta = self.attributes_of_copy(location).await?;
                let (payload, attributes) =
                    (GetResultPayload::Stream(stream::empty().boxed()), Attributes::new());
                return Ok(GetResult {
                    payload,
                    range: 0..0,
                    meta,
                    attributes,
                    extensions: options.extensions,
                });
            }
            return Err(not_held(location));
        };
        let (start, end) = match options.range {
            None => (0, u64::MAX),
            Some(GetRange::Bounded(range)) => (range.start, range.end),
            Some(GetRange::Offset(start)) => (start, u64::MAX),
            Some(GetRange::Suffix(_)) => return Err(unsupported("read the end of")),
        };
        let first_end = if options.head { start } else { end.min(start.saturating_add(PIECE_BYTES)) };
        let first = self.piece(location, &ticket, start..first_end).await?;
        let meta = meta(location, &first.headers)?;
        let range = start..end.min(meta.size).max(start);
        let attributes = attributes(&first.headers);
        let rest = (first_end.min(range.end)..range.end).step_by(PIECE_BYTES as usize);
        let rest: Vec<_> = if options.head { Vec::new() } else { rest.collect() };
        let (store, whole, expected) = (self.clone(), range.clone(), meta.clone());
        let pieces = stream::iter(rest).map(move |from| {
            let (store, ticket, expected) = (store.clone(), ticket.clone(), expected.clone());
            let end = whole.end.min(from + PIECE_BYTES);
            async move {
                let piece = store.piece(&expected.location, &ticket, from..end).await?;
                let found = self::meta(&expected.location, &piece.headers)?;
                if (&found.e_tag, found.size) != (&expected.e_tag, expected.size) {
                    let source = format!("{} was replaced while it was read", expected.location).into();
                    return Err(Error::Generic { store: NAME, source });
                }
                Ok(piece.body)
            }
        });
        let payload = stream::once(async move { Ok(first.body) }).chain(pieces.buffered(PIECES));
        let payload = GetResultPayload::Stream(payload.boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions: options.extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.and_then(|_| async { Err(unsupported("remove")) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(unsupported("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unsupported("list"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("copy"))
    }
}

/// The channel of parts to send: each with its bytes, and a channel that is notified when they were sent.
type Parts = mpsc::UnboundedSender<(Bytes, oneshot::Sender<()>)>;

/// An object that is sent as one body, made of parts in order. It ends with a trailer of 12 bytes: the number of bytes
/// before it (u64) and their CRC-32 (u32), little-endian. A body without a trailer creates no object.
struct Streamed {
    parts: Option<Parts>,
    sending: Option<JoinHandle<Result<Reply, CallError>>>,
    location: Path,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Streamed {
    fn start(store: &RemoteStore, location: &Path) -> Result<Self> {
        let ticket = store.writing(location)?.to_header();
        let (parts, receiver) = mpsc::unbounded_channel::<(Bytes, oneshot::Sender<()>)>();
        let body = stream::unfold(receiver, |mut receiver| async move {
            let (bytes, sent) = receiver.recv().await?;
            // The next part is requested once this one was sent.
            let _ = sent.send(());
            Some((Ok::<_, std::io::Error>(bytes), receiver))
        });
        let (store, path) = (store.clone(), location.clone());
        let sending = tokio::spawn(async move {
            let nodes = store.nodes.clone();
            let sent = nodes.send_once(|client, base| {
                let request = client.put(store.url(base, &path, None)).header(TICKET, &ticket);
                request.body(Body::wrap_stream(body))
            });
            sent.await
        });
        let (sending, crc) = (Some(sending), crc32fast::Hasher::new());
        Ok(Self { parts: Some(parts), sending, location: location.clone(), bytes: 0, crc })
    }

    fn push(&mut self, bytes: Bytes) -> oneshot::Receiver<()> {
        let (sender, sent) = oneshot::channel();
        if let Some(parts) = &self.parts {
            // If the body has failed, its end will report that.
            let _ = parts.send((bytes, sender));
        }
        sent
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Streamed {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = Bytes::from(data);
        self.bytes += bytes.len() as u64;
        self.crc.update(&bytes);
        let sent = self.push(bytes);
        async move {
            sent.await.map_err(|_| Error::Generic { store: NAME, source: "the connection is lost".into() })
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut trailer = self.bytes.to_le_bytes().to_vec();
        trailer.extend(self.crc.clone().finalize().to_le_bytes());
        drop(self.push(trailer.into()));
        self.parts = None;
        let Some(sending) = self.sending.take() else { return Err(not_held(&self.location)) };
        let sent = sending.await.map_err(|source| Error::JoinError { source })?;
        sent.map_err(|error| failed(&self.location, error))?;
        Ok(PutResult { e_tag: None, version: None, extensions: Extensions::default() })
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts = None;
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        Ok(())
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
    }
}
