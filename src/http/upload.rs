//! Receives uploads in one request. An upload is checked while it arrives, and is stored completely or not at all.

use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use linkage::encoding::Summary;
use linkage::encoding::json::FileRef;
use tokio::time::sleep;
use tracing::Instrument;

use super::ApiState;
use super::body::Pieces;
use super::body_reader::receive;
use super::form::Form;
use super::problem::Problem;
use super::spooled::{Beside, Indexing, Inline, Spooled, Spooling};
use crate::coordinator::{self, Refused};
use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState, Token, Upload};
use crate::objects::keys;
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::chain;
use crate::telemetry::metrics::{self, UnderWay};

/// The pause after a failure to release an upload.
const PAUSE: Duration = Duration::from_millis(200);
/// The number of pauses of [`PAUSE`] to wait for another upload with the same token.
const RETRIES_MAX: u32 = 5;

/// Reads the body as the dataset of `party`, whose update token the caller has, and returns the number of the upload
/// and the receipt token. An error in the format is reported only if the token is unused. After any error, none of the
/// body is stored, and the update token can be used again.
///
/// If the future is dropped, the upload continues in the background until the body ends or the client disconnects.
pub(super) async fn upload(
    state: ApiState,
    project: ProjectId,
    party: u32,
    form: Result<Form, Problem>,
    body: Body,
) -> Result<(u32, Token), Problem> {
    let (kind, under_way) =
        (form.as_ref().map_or("unknown", Form::name), UnderWay::begin(metrics::UPLOADS_NOW));
    let work = async move {
        let _under_way = under_way;
        let number = begin(&state, project, party).await?;
        let slot = Slot { state, project, party, number };
        match slot.fill(form, body).await {
            Ok(receipt) => Ok((number, receipt)),
            Err(problem) => {
                slot.let_go().await;
                Err(problem)
            }
        }
    };
    let done = tokio::spawn(work.in_current_span()).await;
    let done = done.unwrap_or_else(|error| Err(Problem::internal(&error)));
    metrics::upload(kind, done.is_ok());
    done
}

/// Locks the token. If another upload holds the lock, waits about a second: a caller whose connection broke may retry
/// before the end of the first attempt is recorded. If the token stays locked, the caller gets 503 and may retry.
async fn begin(state: &ApiState, project: ProjectId, party: u32) -> Result<u32, Problem> {
    for _ in 0..RETRIES_MAX {
        match state.coordinator.begin_upload(project, party).await {
            Err(coordinator::Error::Refused(Refused::UploadUnderWay)) => sleep(PAUSE).await,
            begun => return Ok(begun?),
        }
    }
    Ok(state.coordinator.begin_upload(project, party).await?)
}

/// An upload that holds the lock on its token.
#[derive(Clone)]
struct Slot {
    state: ApiState,
    project: ProjectId,
    party: u32,
    number: u32,
}

impl Slot {
    async fn fill(&self, form: Result<Form, Problem>, body: Body) -> Result<Token, Problem> {
        let form = form?;
        let pieces = Pieces::new(body, self.state.settings.body_bytes_max)?;
        self.state
            .spool
            .admits(form.spooled_bytes(pieces.bytes_min()))
            .await
            .map_err(|full| Problem::no_space(&full))?;
        let host = form.host();
        let at_once = self.state.coordinator.rules().takes_small_work_at_once();
        let spooling = Spooling {
            objects: self.state.objects.clone(),
            room: self.state.spool.clone(),
            form,
            version: self.state.settings.entries,
            indexing: at_once
                .then(|| Indexing { upload: self.number, turns: Arc::clone(&self.state.indexing) }),
        };
        let _turn = self.state.turn().await?;
        let spooled = receive(pieces, move |incoming| spooling.read(incoming)).await??;
        hit("spooled", Moment::Done).await;
        match spooled {
            Spooled::Inline(inline) => self.keep(*inline).await,
            Spooled::Files { encodings, blocks } => self.refer(encodings, blocks, host.as_deref()).await,
        }
    }

    /// Accepts an upload that names files. They are read later.
    async fn refer(
        &self,
        encodings: FileRef,
        blocks: Option<FileRef>,
        host: Option<&str>,
    ) -> Result<Token, Problem> {
        let external = self.state.external.as_ref().ok_or_else(Problem::disabled)?;
        let (project, party) = (self.project, self.party);
        let (reference, keyring) =
            external.reference((project, party, self.number), encodings, blocks, host)?;
        let receipt = self.state.coordinator.refer_upload(project, party, reference, keyring).await?;
        tracing::info!(project.id = %project, party, "upload accepted; its files are read next");
        Ok(receipt)
    }

    /// Publishes the content as objects, and accepts it.
    async fn keep(&self, spooled: Inline) -> Result<Token, Problem> {
        let Inline { summary, matrix, beside } = spooled;
        let Summary { records, encoding_bytes, has_blocks: blocks, .. } = summary;
        let (project, party, number) = (self.project, self.party, self.number);
        let (key, coordinator) = (keys::matrix(project, party, number), &self.state.coordinator);
        let (bytes, receipt) = match beside {
            Beside::Index(dataset, index) => {
                let index_key = keys::index(project, party, number);
                // Both end before an error is returned: nothing may be stored after the caller has removed the objects.
                let (matrix, index) = tokio::join!(matrix.publish(&key), index.publish(&index_key));
                let (bytes, _) = (matrix?, index?);
                hit("spooled", Moment::Published).await;
                (bytes, coordinator.accept_indexed_upload(project, party, dataset).await?)
            }
            Beside::Entries(entries) => {
                let bytes = matrix.publish(&key).await?;
                if let Some(entries) = entries {
                    entries.publish(&keys::entries(project, party, number)).await?;
                }
                hit("spooled", Moment::Published).await;
                let upload = Upload { upload: number, records, encoding_bytes, blocks };
                (bytes, coordinator.accept_upload(project, party, upload).await?)
            }
        };
        hit("spooled", Moment::Reported).await;
        tracing::info!(project.id = %project, party, records, encoding_bytes, blocks, bytes, "upload accepted");
        Ok(receipt)
    }

    /// Unlocks the token before the response, or in the background if that fails at first.
    async fn let_go(self) {
        if let Err(error) = self.try_to_let_go().await {
            tracing::warn!("cannot record yet that an upload has failed: {}", chain(&*error));
            tokio::spawn(self.keep_trying().in_current_span());
        }
    }

    async fn try_to_let_go(&self) -> Result<(), BoxError> {
        let (project, party, number) = (self.project, self.party, self.number);
        self.state.coordinator.abandon_upload(project, party, number).await?;
        // If the project was deleted, or another node has released the token, no other code removes the objects.
        let found = self.state.coordinator.project(project, Runs::None).await?;
        let party_of = |project: &ProjectState| project.parties.get(party as usize).cloned();
        if !found.as_ref().and_then(party_of).is_some_and(|party| party.uses(number)) {
            self.state.objects.delete_prefix(&keys::upload(project, party, number)).await?;
        }
        Ok(())
    }

    async fn keep_trying(self) {
        // The pauses are short, so that the token is not locked for long when the client retries.
        while self.try_to_let_go().await.is_err() {
            sleep(PAUSE).await;
        }
    }
}
