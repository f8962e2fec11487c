//! The state of the administrator's handlers.

use std::sync::Arc;

use super::access::Access;
use crate::queue::Broker;
use crate::runtime::clock::Clock;

/// What the administrator's handlers have at hand. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// Who is let in.
    pub access: Access,
    /// The queues.
    pub broker: Arc<dyn Broker>,
    /// The time it is.
    pub clock: Clock,
}
