//! Connections at a time, by client and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Network;

/// Counts who is there.
#[derive(Debug)]
pub struct Census {
    all_max: usize,
    per_network_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_network: HashMap<Network, usize>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many are there as may be.
    Everywhere,
    /// As many are there from the same address as may be.
    ForThisAddress,
}

/// Somebody who is there, until dropped.
#[derive(Debug)]
pub struct Present {
    census: Arc<Census>,
    network: Option<Network>,
}

impl Census {
    /// Nobody is there; `all_max` may be, and `per_network_max` of one client.
    pub fn new(all_max: usize, per_network_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, per_network_max, counts: Mutex::default() })
    }

    /// Somebody comes, and is counted by `address` if that is given.
    ///
    /// # Errors
    /// [`Full`]; nobody is counted then.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Present, Full> {
        let mut counts = self.counts();
        if counts.all >= self.all_max {
            return Err(Full::Everywhere);
        }
        counts.all += 1;
        drop(counts);
        let mut present = Present { census: Arc::clone(self), network: None };
        if let Some(address) = address {
            present.identify(address)?;
        }
        Ok(present)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

impl Present {
    /// It turns out whom somebody who was not counted by address speaks for.
    ///
    /// # Errors
    /// [`Full::ForThisAddress`].
    pub fn identify(&mut self, address: IpAddr) -> Result<(), Full> {
        let network = Network::of(address);
        let mut counts = self.census.counts();
        let count = counts.by_network.entry(network).or_default();
        if *count >= self.census.per_network_max {
            return Err(Full::ForThisAddress);
        }
        *count += 1;
        drop(counts);
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut counts = self.census.counts();
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
    fn who_leaves_makes_room() {
        let census = Census::new(3, 2);
        let address = |last| Some(IpAddr::from([127, 0, 0, last]));
        let first = census.enter(address(1)).unwrap();
        let _second = census.enter(address(1)).unwrap();
        assert_eq!(census.enter(address(1)).unwrap_err(), Full::ForThisAddress);
        let _third = census.enter(address(2)).unwrap();
        assert_eq!(census.enter(None).unwrap_err(), Full::Everywhere);
        drop(first);
        let _fourth = census.enter(address(1)).unwrap();
        assert_eq!(census.counts().by_network.len(), 2);
    }
}
