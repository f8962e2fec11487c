//! What every handler has at hand.

use std::sync::Arc;

use super::Settings;
use crate::coordinator::Coordinator;
use crate::objects::Objects;
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
    /// What the operator said.
    pub settings: Arc<Settings>,
}
