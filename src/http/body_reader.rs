//! Passes an asynchronous body to a blocking parser, through a short queue.

use std::io::{self, Read};

use axum::body::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::Span;

use super::body::Pieces;
use super::problem::Problem;
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::metrics;

/// The maximum number of chunks that wait for the parser. A chunk is one read of the connection, some hundred
/// kilobytes at most.
const PIECES_MAX: usize = 4;

/// Passes the body to `parse`, which runs on a blocking thread, and returns the result of `parse`. If `parse` stops
/// reading early, the rest of the body is not read.
///
/// # Errors The error of the body. In that case `parse` sees an early end of the body, and its result is dropped.
pub(super) async fn receive<T: Send + 'static>(
    mut pieces: Pieces,
    parse: impl FnOnce(Incoming) -> T + Send + 'static,
) -> Result<T, Problem> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let span = Span::current();
    let parser = spawn_blocking(move || span.in_scope(|| parse(Incoming { receiver, piece: Bytes::new() })));
    let arrived = forward(&mut pieces, sender).await;
    let parsed = parser.await.map_err(|error| Problem::internal(&error))?;
    arrived.map(|()| parsed)
}

async fn forward(pieces: &mut Pieces, sender: mpsc::Sender<Bytes>) -> Result<(), Problem> {
    while let Some(piece) = pieces.next().await? {
        metrics::upload_arrived(piece.len());
        hit("body", Moment::Begun).await;
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A reader of the body for the parser. It blocks until there is data.
pub(super) struct Incoming {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else { return Ok(0) };
            self.piece = piece;
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn body(pieces: Vec<Result<&'static str, io::Error>>) -> Pieces {
        Pieces::new(Body::from_stream(futures::stream::iter(pieces)), 1_000).unwrap()
    }

    #[tokio::test]
    async fn a_parser_reads_what_arrives() {
        let pieces = vec![Ok("gro"), Ok(""), Ok("ups")];
        let text = receive(body(pieces), io::read_to_string).await.unwrap().unwrap();
        assert_eq!(text, "groups");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        let pieces = vec![Ok("gro"), Err(io::Error::other("reset"))];
        assert!(receive(body(pieces), io::read_to_string).await.is_err());
    }

    #[tokio::test]
    async fn a_parser_may_have_read_enough() {
        let pieces = (0..100).map(|_| Ok("more")).collect();
        assert_eq!(receive(body(pieces), |_| "no thanks").await.unwrap(), "no thanks");
    }
}
