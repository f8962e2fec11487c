//! Sends a body, and shows the progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;
use tokio_util::io::ReaderStream;

use super::encodings::Body;
use crate::cli::exit::{Failure, OrFail};
use crate::cli::progress::Progress;
use crate::runtime::clock::Stopwatch;

/// Bytes that are sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// The interval at which progress is shown.
const LOOK: Duration = Duration::from_millis(100);
/// The longest time without a sent byte, and for the answer to a complete body.
const STALLED: Duration = Duration::from_mins(15);

/// Counts the bytes of a body that were sent.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<AtomicU64>);

impl Sent {
    /// The body from its beginning.
    pub(super) fn body(&self, body: &Body) -> Result<reqwest::Body, Failure> {
        use std::io::Seek;
        let mut file = body.file.try_clone().or_fail()?;
        file.rewind().or_fail()?;
        self.0.store(0, Ordering::Relaxed);
        let count = Arc::clone(&self.0);
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES);
        let counted = pieces.inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
            count.fetch_add(bytes, Ordering::Relaxed);
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
                    "{task}: no byte was sent for {minutes} minutes, {sent} of {bytes} before"
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
