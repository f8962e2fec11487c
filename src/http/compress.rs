//! Compresses results for clients on other machines that accept compression.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use axum::response::Response;
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::edge::ClientIp;

/// The minimum number of bytes of a result that is compressed: a smaller one fits into one packet anyway.
const BYTES_MIN: u64 = 1_024;
/// The maximum number of results compressed at a time, including those whose client has stopped reading. Each takes up
/// to two megabytes of memory. Further results are sent uncompressed.
const AT_ONCE_MAX: usize = 16;

/// The results to compress, if the client accepts compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Results for other machines are compressed.
    Auto,
    /// All results are compressed.
    Always,
    /// No result is compressed.
    Off,
}

/// Compresses results. Cheap to clone: all clones share the limit.
#[derive(Clone)]
pub(super) struct Compressor {
    which: Compress,
    turns: Arc<Semaphore>,
}

impl Compressor {
    pub(super) fn new(which: Compress) -> Self {
        Self { which, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Returns the response, compressed if the request headers `asked` allow it and the settings require it for this
    /// client. It is compressed while it is sent: for a client that stops reading, no further work is done.
    pub(super) async fn squeeze(
        &self,
        answer: Response,
        bytes: u64,
        client: Option<ClientIp>,
        asked: &HeaderMap,
    ) -> Response {
        let near = client.is_none_or(ClientIp::is_near);
        let wanted = match self.which {
            Compress::Auto => !near,
            Compress::Always => true,
            Compress::Off => false,
        };
        if !wanted || bytes < BYTES_MIN {
            return answer;
        }
        // Without a permit, the response is sent uncompressed, which every client accepts.
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return answer };
        negotiated(answer, asked).await.map(|body| {
            let pieces = body.into_data_stream().map(move |piece| {
                let _ends_with_the_stream = &turn;
                piece
            });
            Body::from_stream(pieces)
        })
    }
}

/// Returns the response in the content coding that the headers `asked` prefer.
async fn negotiated(answer: Response, asked: &HeaderMap) -> Response {
    let status = answer.status();
    let mut request = Request::new(answer);
    for value in asked.get_all(header::ACCEPT_ENCODING) {
        request.headers_mut().append(header::ACCEPT_ENCODING, value.clone());
    }
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let echo = service_fn(|request: Request<Response>| async { Ok::<_, Infallible>(request.into_body()) });
    let Ok(mut answer) = layer.layer(echo).oneshot(request).await;
    // A client that accepts no coding gets the uncompressed response instead of 406, as from the reference service.
    *answer.status_mut() = status;
    answer.map(Body::new)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;

    const FAR: Option<ClientIp> = Some(ClientIp(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))));
    const NEAR: Option<ClientIp> = Some(ClientIp(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));

    fn accepting(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))])
    }

    async fn squeezed(
        compressor: &Compressor,
        bytes: u64,
        client: Option<ClientIp>,
        accept: &'static str,
    ) -> Response {
        let answer = Response::new(Body::from("a".repeat(bytes as usize)));
        compressor.squeeze(answer, bytes, client, &accepting(accept)).await
    }

    fn coding(answer: &Response) -> &str {
        answer.headers().get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn the_client_has_its_say() {
        let always = Compressor::new(Compress::Always);
        for (accept, expected) in [
            ("gzip", "gzip"),
            ("zstd", "zstd"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("zstd;q=0.5, GZIP", "gzip"),
            ("gzip;q=0", ""),
            ("br", ""),
            ("", ""),
            ("identity;q=0", ""),
            ("*;q=0", ""),
        ] {
            let answer = squeezed(&always, 10_000, NEAR, accept).await;
            assert_eq!((coding(&answer), answer.status()), (expected, StatusCode::OK), "{accept}");
            assert_eq!(answer.headers()[header::VARY], "accept-encoding", "{accept}");
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len() < 10_000, !expected.is_empty(), "{accept}");
        }
    }

    #[tokio::test]
    async fn small_results_and_results_for_near_clients_are_not_compressed() {
        let auto = Compressor::new(Compress::Auto);
        assert_eq!(coding(&squeezed(&auto, BYTES_MIN, FAR, "gzip").await), "gzip");
        for (compressor, bytes, client) in [
            (&auto, BYTES_MIN - 1, FAR),
            (&auto, BYTES_MIN, NEAR),
            (&auto, BYTES_MIN, None),
            (&Compressor::new(Compress::Off), BYTES_MIN, FAR),
        ] {
            let answer = squeezed(compressor, bytes, client, "gzip").await;
            assert_eq!((coding(&answer), answer.headers().get(header::VARY)), ("", None));
        }
    }

    #[tokio::test]
    async fn only_so_many_are_compressed_at_a_time() {
        let compressor = Compressor::new(Compress::Always);
        let mut unread = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            unread.push(squeezed(&compressor, 10_000, FAR, "gzip").await);
        }
        assert_eq!(coding(&squeezed(&compressor, 10_000, FAR, "gzip").await), "");
        assert_eq!(coding(&unread.pop().unwrap()), "gzip");
        assert_eq!(coding(&squeezed(&compressor, 10_000, FAR, "gzip").await), "gzip");
    }
}
