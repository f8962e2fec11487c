//! Limits concurrent connections, for each client and in total.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::network::Network;

/// Counts connections.
#[derive(Debug)]
pub struct ConnectionLimiter {
    all_max: usize,
    per_network_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_network: HashMap<Network, usize>,
}

/// The limit that a connection exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// The limit on all connections.
    Everywhere,
    /// The limit on connections from one client.
    ForThisAddress,
}

/// A counted connection, until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    connection_limiter: Arc<ConnectionLimiter>,
    network: Option<Network>,
}

impl ConnectionLimiter {
    /// Returns a limiter that allows `all_max` connections in total, and `per_network_max` of one client.
    pub fn new(all_max: usize, per_network_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, per_network_max, counts: Mutex::default() })
    }

    /// Counts a connection, and attributes it to `address` if that is given.
    ///
    /// # Errors
    /// [`LimitReached`]; the connection is then not counted.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<ConnectionPermit, LimitReached> {
        let mut counts = self.counts.lock();
        if counts.all >= self.all_max {
            return Err(LimitReached::Everywhere);
        }
        counts.all += 1;
        drop(counts);
        let mut permit = ConnectionPermit { connection_limiter: Arc::clone(self), network: None };
        if let Some(address) = address {
            permit.identify(address)?;
        }
        Ok(permit)
    }
}

impl ConnectionPermit {
    /// Attributes the connection to `address`, once the proxy has reported the client.
    ///
    /// # Errors
    /// [`LimitReached::ForThisAddress`].
    pub fn identify(&mut self, address: IpAddr) -> Result<(), LimitReached> {
        let network = Network::of(address);
        let mut counts = self.connection_limiter.counts.lock();
        let count = counts.by_network.entry(network).or_default();
        if *count >= self.connection_limiter.per_network_max {
            return Err(LimitReached::ForThisAddress);
        }
        *count += 1;
        drop(counts);
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.connection_limiter.counts.lock();
        counts.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(count) = counts.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_frees_its_permit() {
        let connection_limiter = ConnectionLimiter::new(3, 2);
        let address = |last| Some(IpAddr::from([127, 0, 0, last]));
        let first = connection_limiter.enter(address(1)).unwrap();
        let _second = connection_limiter.enter(address(1)).unwrap();
        assert_eq!(connection_limiter.enter(address(1)).unwrap_err(), LimitReached::ForThisAddress);
        let _third = connection_limiter.enter(address(2)).unwrap();
        assert_eq!(connection_limiter.enter(None).unwrap_err(), LimitReached::Everywhere);
        drop(first);
        let _fourth = connection_limiter.enter(address(1)).unwrap();
        assert_eq!(connection_limiter.counts.lock().by_network.len(), 2);
    }
}
