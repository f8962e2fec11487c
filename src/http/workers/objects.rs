//! Access to objects for the jobs of workers. Objects are read in chunks, and written as a whole.

use std::fmt::Write as _;
use std::io::Write as _;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::TryStreamExt;
use linkage::pairs::Version;
use serde::Deserialize;

use super::calls::Worker;
use super::state::WorkersState;
use crate::http::body::Pieces;
use crate::http::body_reader;
use crate::http::problem::Problem;
use crate::objects::{self, Chunks, Staged};
use crate::system::disk;
use crate::worker::grants;
use crate::worker::protocol::{ATTRIBUTES, CRC32, MODIFIED, PIECE_BYTES, SIZE, TICKET, Ticket};
use crate::worker::remote::Area;

/// The number of bytes in the trailer of an object that is written in parts.
const TRAILER_BYTES: usize = 12;

/// The requested object.
#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    area: String,
    key: String,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    bytes: u64,
    /// The latest version of pair files that the worker reads. Older workers do not send it.
    #[serde(default)]
    pairs: u8,
}

fn wish(wish: Result<Query<Wish>, QueryRejection>) -> Result<(Area, Wish), Problem> {
    let Query(wish) = wish.map_err(|rejection| Problem::bad_query(&rejection))?;
    let area = Area::named(&wish.area).ok_or_else(|| Problem::bad_request("there is no such area"))?;
    Ok((area, wish))
}

fn ticket(headers: &HeaderMap) -> Result<Ticket, Problem> {
    let text = headers.get(TICKET).and_then(|ticket| ticket.to_str().ok());
    text.and_then(Ticket::of_header)
        .ok_or_else(|| Problem::bad_request("the header Entityd-Ticket is malformed"))
}

fn forbidden(node: &str, ticket: &Ticket) -> Problem {
    tracing::warn!(node, job.id = %ticket.lease.job, "rejected a request for an object that does not belong to the job");
    Problem::new(StatusCode::FORBIDDEN, "the object does not belong to the job")
}

/// Converts the error of a store. A worker retries after a 5xx error.
fn failed(error: objects::Error) -> Problem {
    match error {
        objects::Error::Missing { .. } => Problem::new(StatusCode::NOT_FOUND, "there is no such object"),
        objects::Error::Damaged { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        error => Problem::unavailable(&error),
    }
}

/// `GET /object`: returns a chunk of an object with its checksum, and the object's attributes.
pub(super) async fn read(
    State(state): State<WorkersState>,
    Worker(node): Worker,
    headers: HeaderMap,
    query: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Problem> {
    let (area, wish) = wish(query)?;
    let ticket = ticket(&headers)?;
    let assignment = state.held(&ticket).await?;
    let bytes = wish.bytes.min(PIECE_BYTES);
    let (piece, size, modified, etag, attributes) = match area {
        Area::Objects => {
            let key =
                grants::readable(&assignment.job, &wish.key).ok_or_else(|| forbidden(&node, &ticket))?;
            let found = state.parts.objects.find(&key).await.map_err(failed)?;
            let needs_older = Version::up_to(wish.pairs) < Version::Dense && key.is_pairs();
            let older = if needs_older {
                let range = (wish.from, bytes);
                state.translated.piece(&state.parts.objects, &key, range).await.map_err(failed)?
            } else {
                None
            };
            let end = found.size.min(wish.from.saturating_add(bytes));
            let (piece, size) = if let Some(older) = older {
                older
            } else if end > wish.from {
                let chunks = state.parts.objects.range(&key, wish.from..end).await.map_err(failed)?;
                (collected(chunks, end - wish.from).await.map_err(failed)?, found.size)
            } else {
                (Bytes::new(), found.size)
            };
            (piece, size, found.modified, found.etag, None)
        }
        Area::Files => {
            let uploads = state.parts.uploads.as_ref();
            let uploads = uploads.filter(|_| grants::may_read_file(&assignment.job, &wish.key));
            let uploads = uploads.ok_or_else(|| forbidden(&node, &ticket))?;
            let piece = uploads.piece(&wish.key, wish.from, bytes).await.map_err(failed)?;
            (piece.bytes, piece.found.size, piece.found.modified, piece.found.etag, Some(piece.attributes))
        }
    };
    let mut response = Response::new(Body::from(piece.clone()));
    let mut say = |name: &'static str, text: String| {
        // Text from the store that a header cannot contain is omitted.
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    say(SIZE, size.to_string());
    say(MODIFIED, modified.as_micros().to_string());
    say(CRC32, crc32fast::hash(&piece).to_string());
    say("etag", etag);
    if let Some(attributes) = attributes {
        say(ATTRIBUTES, ascii(&serde_json::json!(attributes).to_string()));
    }
    Ok(response)
}

/// Escapes non-ASCII characters in JSON, for a header.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(escaped, "\\u{unit:04x}"),
        }
    }
    escaped
}

async fn collected(mut chunks: Chunks, bytes: u64) -> Result<Bytes, objects::Error> {
    let mut piece = Vec::with_capacity(bytes as usize);
    while let Some(chunk) = chunks.try_next().await? {
        piece.extend_from_slice(&chunk);
    }
    if piece.len() as u64 == bytes {
        Ok(piece.into())
    } else {
        Err(std::io::Error::other("a file was truncated while it was read").into())
    }
}

/// `PUT /object`: creates an object of a job, completely or not at all. An existing object is not replaced.
pub(super) async fn write(
    State(state): State<WorkersState>,
    Worker(node): Worker,
    query: Result<Query<Wish>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (area, wish) = wish(query)?;
    let ticket = ticket(&headers)?;
    let assignment = state.held(&ticket).await?;
    let key = match area {
        Area::Objects => grants::writable(&assignment.job, &wish.key),
        Area::Files => None,
    };
    let key = key.ok_or_else(|| forbidden(&node, &ticket))?;
    let over = || {
        Problem::new(StatusCode::CONFLICT, "the lease has expired, or the object is being written already")
    };
    let guest = state.parts.guests.enter((*assignment).clone()).await?.ok_or_else(over)?;
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let expected = number(SIZE).zip(number(CRC32));
    let staged = state.parts.objects.stage();
    let folders = state.parts.objects.directories();
    let rooms = folders.iter().filter_map(|folder| disk::room(folder).ok()).map(|room| room.free_bytes);
    let pieces = Pieces::new(body, rooms.min().unwrap_or(u64::MAX))?;
    let arrived = body_reader::receive(pieces, move |incoming| save(incoming, staged, expected));
    let staged = arrived.await?.map_err(|error| match error {
        Unsaved::Broken(why) => Problem::bad_request(why),
        Unsaved::Storage(error) => failed(error.into()),
    })?;
    if !guest.is_wanted() {
        return Err(over());
    }
    staged.publish(&key).await.map_err(failed)?;
    drop(guest);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The reason why a body creates no object.
enum Unsaved {
    Broken(&'static str),
    Storage(std::io::Error),
}

/// Writes a body to a file, and checks it against its size and checksum, or against its trailer.
fn save(
    mut incoming: impl std::io::Read,
    mut staged: Staged,
    expected: Option<(u64, u64)>,
) -> Result<Staged, Unsaved> {
    let mut crc = crc32fast::Hasher::new();
    let (mut bytes, mut held) = (0_u64, Vec::new());
    let kept = if expected.is_some() { 0 } else { TRAILER_BYTES };
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count =
            incoming.read(&mut buffer).map_err(|_| Unsaved::Broken("the object was truncated in transit"))?;
        if count == 0 {
            break;
        }
        held.extend_from_slice(&buffer[..count]);
        let ready = held.len().saturating_sub(kept);
        staged.write_all(&held[..ready]).map_err(Unsaved::Storage)?;
        crc.update(&held[..ready]);
        bytes += ready as u64;
        held.drain(..ready);
    }
    let crc = crc.finalize();
    let is_whole = match expected {
        Some(expected) => expected == (bytes, u64::from(crc)),
        None => held == [bytes.to_le_bytes().as_slice(), &crc.to_le_bytes()].concat(),
    };
    if is_whole { Ok(staged) } else { Err(Unsaved::Broken("the object was corrupted in transit")) }
}
