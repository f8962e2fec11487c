//! What every handler has at hand.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::Semaphore;

use super::admin::Access;
use super::compress::Compressor;
use super::{External, Settings};
use crate::coordinator::Coordinator;
use crate::objects::{Objects, Spool};
use crate::runtime::entropy::Entropy;

/// What every handler has at hand. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Knows what exists and decides what happens.
    pub coordinator: Coordinator,
    /// Uploads go there, results come from there.
    pub objects: Objects,
    /// Makes the ids of requests.
    pub entropy: Entropy,
    /// Who is the administrator.
    pub admin: Access,
    /// The object store as clients may use it, if they may.
    pub external: Option<Arc<External>>,
    /// The room for uploads on their way in.
    pub spool: Spool,
    /// What the operator said.
    pub settings: Arc<Settings>,
    /// Makes results smaller.
    pub(super) compressor: Compressor,
    /// Turns for uploads to be read.
    pub(super) turns: Arc<Semaphore>,
}

impl State {
    /// What the handlers of a server have at hand.
    pub fn new(
        coordinator: Coordinator,
        objects: Objects,
        entropy: Entropy,
        admin: Access,
        spool: Spool,
        settings: Settings,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(settings.uploads_max));
        let compressor = Compressor::new(settings.compress_results);
        Self {
            coordinator,
            objects,
            entropy,
            admin,
            external: None,
            spool,
            settings: Arc::new(settings),
            compressor,
            turns,
        }
    }

    /// The same, with an object store that clients may use.
    #[must_use]
    pub fn with_external(self, external: Option<External>) -> Self {
        Self { external: external.map(Arc::new), ..self }
    }
}

impl FromRef<State> for Access {
    fn from_ref(state: &State) -> Self {
        state.admin.clone()
    }
}
