//! Reads request bodies with a limit, and parses small ones as JSON.

use std::error::Error;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use mime::Mime;
use serde::de::DeserializeOwned;

use super::ApiState;
use super::problem::Problem;
use crate::edge::Stalled;
use crate::runtime::coding::Undecodable;
use crate::system::text;

/// The maximum number of bytes in the JSON body of a project or a run.
pub(super) const JSON_BYTES_MAX: u64 = 1 << 20;

/// A body as a stream of chunks.
pub(super) struct Pieces {
    body: Body,
    bytes_max: u64,
    bytes_seen: u64,
}

impl Pieces {
    /// Returns the chunks of `body`, which may have at most `bytes_max` bytes.
    ///
    /// # Errors
    /// 413 if the declared length is larger.
    pub(super) fn new(body: Body, bytes_max: u64) -> Result<Self, Problem> {
        if body.size_hint().lower() > bytes_max {
            return Err(Problem::too_large(bytes_max));
        }
        Ok(Self { body, bytes_max, bytes_seen: 0 })
    }

    /// Returns a lower bound of the number of bytes that follow; the exact number, if the length was declared.
    pub(super) fn bytes_min(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// Returns the next chunk; `None` after the last. If the future is dropped, no data is lost.
    ///
    /// # Errors
    /// 413 beyond the limit, 408 if the body arrives too slowly, 400 if the body is incomplete.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| broken(&error))?;
            // Trailers are ignored.
            let Ok(piece) = frame.into_data() else { continue };
            self.bytes_seen += piece.len() as u64;
            if self.bytes_seen > self.bytes_max {
                return Err(Problem::too_large(self.bytes_max));
            }
            return Ok(Some(piece));
        }
    }

    /// Returns all chunks as one.
    async fn collect(mut self) -> Result<Vec<u8>, Problem> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

/// Converts the error that ended a body into a response.
fn broken(error: &axum::Error) -> Problem {
    let mut causes = std::iter::successors(Some(error as &dyn Error), |error| (*error).source());
    let known = causes.find_map(|cause| {
        let stalled = cause.downcast_ref::<Stalled>().map(|stalled| Problem::stalled(*stalled));
        let undecodable = cause.downcast_ref::<io::Error>().and_then(Undecodable::of);
        stalled.or_else(|| undecodable.map(|undecodable| Problem::bad_request(undecodable.to_string())))
    });
    known.unwrap_or_else(|| Problem::bad_request("the body is incomplete"))
}

/// A small JSON object, parsed as `T`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, Problem> {
        let says_json = is_json(request.headers());
        let body = request.into_body();
        if !says_json && !body.is_end_stream() {
            return Err(Problem::media_type("application/json"));
        }
        let text = Pieces::new(body, JSON_BYTES_MAX)?.collect().await?;
        parse(&text).map(Self)
    }
}

/// Parses a JSON object as `T`.
///
/// # Errors
/// 400, with the name of the invalid member.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let text =
        text::unmarked(text).map_err(|foreign| Problem::bad_request(format!("the body: {foreign}")))?;
    // A derived parser would accept an array of the members' values.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad_request("the body must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner());
        let member =
            if [".", "?"].contains(&path.as_str()) { "the body".to_owned() } else { format!("`{path}`") };
        Problem::bad_request(format!("{member}: {reason}"))
    })?;
    json.end().map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    Ok(value)
}

/// Returns true if the headers declare a JSON media type.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media| {
        media.subtype() == mime::JSON && media.type_() == mime::APPLICATION
            || media.suffix() == Some(mime::JSON)
    })
}

/// Returns the declared media type with its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<Mime> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcing(media_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())])
    }

    #[test]
    fn json_comes_in_flavours() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_json(&announcing(good)), "{good}");
        }
        for bad in ["text/plain", "application/jsonx", "json", "application/octet-stream", ""] {
            assert!(!is_json(&announcing(bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_limit() {
        let pieces = |bytes_max| Pieces::new(Body::from("12345"), bytes_max);
        assert_eq!(pieces(5).unwrap().collect().await, Ok(b"12345".to_vec()));
        assert_eq!(pieces(4).err(), Some(Problem::too_large(4)));
        let unannounced = Body::from_stream(futures::stream::iter([Ok::<_, io::Error>("123"), Ok("45")]));
        assert_eq!(Pieces::new(unannounced, 4).unwrap().collect().await, Err(Problem::too_large(4)));
    }
}
