//! The state of the administrator's handlers.

use std::sync::Arc;

use super::access::Access;
use crate::queue::Broker;
use crate::runtime::clock::Clock;

/// The state of the administrator's handlers. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// The admin token.
    pub access: Access,
    /// The queues.
    pub broker: Arc<dyn Broker>,
    /// The clock.
    pub clock: Clock,
}
