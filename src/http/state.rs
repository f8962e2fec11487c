//! The state of every handler.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::admin::Access;
use super::compress::Compressor;
use super::problem::Problem;
use super::{ApiSettings, ClientStore};
use crate::coordinator::{self, Coordinator};
use crate::metadata;
use crate::objects::{Objects, PartialUploads, Spool};
use crate::system::ballast::Ballast;
use crate::system::threads;

/// The maximum time for which an upload waits for a permit.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The state of every handler. It is cheap to clone: a request clones it several times.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

/// The shared part of the state.
pub struct Shared {
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The object store.
    pub objects: Objects,
    /// The admin token.
    pub admin: Access,
    /// The object store that clients access directly, if they may.
    pub external: Option<ClientStore>,
    /// The disk space for arriving uploads.
    pub spool: Spool,
    /// The uploads that arrive in several requests.
    pub partial: PartialUploads,
    /// The emergency disk space.
    pub ballast: Ballast,
    /// The settings.
    pub settings: ApiSettings,
    /// Compresses results.
    pub(super) compressor: Compressor,
    /// The permits to read uploads.
    pub(super) turns: Semaphore,
    /// The permits to index small uploads.
    pub(super) indexing: Arc<Semaphore>,
}

impl ApiState {
    /// Assembles the state of the handlers of a server.
    pub fn new(
        coordinator: Coordinator,
        objects: Objects,
        admin: Access,
        partial: PartialUploads,
        ballast: Ballast,
        settings: ApiSettings,
        external: Option<ClientStore>,
    ) -> Self {
        let turns = Semaphore::new(settings.uploads_max);
        let compressor = Compressor::new(settings.compress_results);
        Self(Arc::new(Shared {
            coordinator,
            objects,
            admin,
            external,
            spool: partial.spool().clone(),
            partial,
            ballast,
            settings,
            compressor,
            turns,
            indexing: Arc::new(Semaphore::new(threads::cores())),
        }))
    }

    /// Returns a permit to read an upload.
    ///
    /// # Errors
    /// 503 if none becomes free in time.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = timeout(TURN_WAIT_MAX, self.turns.acquire()).await;
        turn.map_err(|_| self.crowded())?.map_err(|closed| Problem::internal(&closed))
    }

    fn crowded(&self) -> Problem {
        let under_way = self.settings.uploads_max;
        tracing::warn!(under_way, "upload rejected: no upload slot became free within 30 s (--uploads-max)");
        Problem::busy("all upload slots are in use")
    }

    /// Makes a change that frees more disk space than it takes. On a full disk, releases the ballast first.
    pub(super) async fn remove<F>(&self, change: impl Fn() -> F) -> Result<(), Problem>
    where
        F: Future<Output = Result<(), coordinator::Error>>,
    {
        match change().await {
            Err(coordinator::Error::Metadata(metadata::Error::Full(_))) if self.ballast.release() => {
                tracing::warn!("the disk is full; releasing the ballast so that data can be deleted");
                Ok(change().await?)
            }
            done => Ok(done?),
        }
    }
}

impl Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<ApiState> for Access {
    fn from_ref(state: &ApiState) -> Self {
        state.admin.clone()
    }
}
