//! Sends a body, and shows the progress.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::encodings::Body;
use crate::cli::exit::{Failure, OrFail};
use crate::cli::progress::Progress;
use crate::runtime::clock::Stopwatch;

/// The size of the chunks of a body.
const PIECE_BYTES: usize = 256 << 10;
/// The interval at which progress is shown.
const LOOK: Duration = Duration::from_millis(100);
/// The longest time without a sent byte, and the longest wait for the response to a complete body.
const STALLED: Duration = Duration::from_mins(15);

/// Streams a range of a file. Does not use the position of the file, because a request that was answered early may
/// still read the file while the next request does.
fn pieces(file: Arc<File>, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(range.start, move |at: u64| {
        let wanted = range.end.saturating_sub(at).min(PIECE_BYTES as u64) as usize;
        let file = Arc::clone(&file);
        async move {
            let read = spawn_blocking(move || {
                let mut piece = vec![0; wanted];
                let length = file.read_at(&mut piece, at)?;
                piece.truncate(length);
                io::Result::Ok(piece)
            });
            let piece = read.await.map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), next)))
        }
    })
}

/// Counts the bytes of a body that were sent.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<AtomicU64>);

impl Sent {
    /// Returns the body from its beginning.
    pub(super) fn body(&self, body: &Body) -> Result<reqwest::Body, Failure> {
        self.part(body, 0..body.bytes)
    }

    /// Returns a part of the body.
    pub(super) fn part(&self, body: &Body, range: Range<u64>) -> Result<reqwest::Body, Failure> {
        let file = Arc::new(body.file.try_clone().or_fail()?);
        self.0.store(range.start, Ordering::Relaxed);
        let count = Arc::clone(&self.0);
        let counted = pieces(file, range).inspect_ok(move |piece| {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
        });
        Ok(reqwest::Body::wrap_stream(counted))
    }

    /// Shows the progress of `work`, which sends `bytes`, until it ends.
    pub(super) async fn watch<T>(
        &self,
        task: &str,
        bytes: u64,
        progress: &mut Progress,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        let (mut last, mut still) = (0, Stopwatch::start());
        loop {
            let sent = self.0.load(Ordering::Relaxed);
            if sent != last {
                (last, still) = (sent, Stopwatch::start());
            }
            if still.elapsed() > STALLED {
                let minutes = STALLED.as_secs() / 60;
                return Err(Failure::Failed(format!(
                    "{task}: no data was sent for {minutes} minutes, after {sent} of {bytes} bytes"
                )));
            }
            progress.show(task, sent as f64 / bytes.max(1) as f64);
            tokio::select! {
                ended = &mut work => return ended,
                () = sleep(LOOK) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[tokio::test]
    async fn two_requests_at_once_send_the_whole_file() {
        let content: Vec<u8> = (0..PIECE_BYTES * 3 + 5).map(|at| (at % 251) as u8).collect();
        let file = Arc::new(file_of(&content));
        let mut first = std::pin::pin!(pieces(Arc::clone(&file), 0..u64::MAX));
        let mut sent = first.try_next().await.unwrap().unwrap().to_vec();
        let second: Vec<Bytes> = pieces(file, 0..u64::MAX).try_collect().await.unwrap();
        assert!(second.concat() == content);
        let middle: Vec<Bytes> =
            pieces(Arc::new(file_of(&content)), 3..PIECE_BYTES as u64 + 9).try_collect().await.unwrap();
        assert!(middle.concat() == content[3..PIECE_BYTES + 9]);
        while let Some(piece) = first.try_next().await.unwrap() {
            sent.extend_from_slice(&piece);
        }
        assert!(sent == content);
    }
}
