//! The role of a node.

use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The process serves clients and computes.
    All,
    /// The process serves clients; workers compute.
    Api,
    /// The process computes for the API nodes that it joins.
    Worker,
}

impl Role {
    /// Returns the name of the role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }

    /// Returns true if a node with this role executes jobs of `queue`. Only nodes that serve clients remove objects.
    pub fn does(self, queue: &str) -> bool {
        match self {
            Self::All => true,
            Self::Api => queue == crate::model::job::PURGES,
            Self::Worker => queue != crate::model::job::PURGES,
        }
    }
}

/// The setting for the address of the worker listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerListen {
    /// The default address in the role `api`, no listener in other roles.
    Auto,
    /// There is no listener for workers.
    Off,
    /// The listener for workers has this address.
    At(SocketAddr),
}

impl WorkerListen {
    /// The default address.
    const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8854);

    /// Returns the address for a node with this role; `None` for no listener.
    pub const fn address(self, role: Role) -> Option<SocketAddr> {
        match (self, role) {
            (Self::At(address), _) => Some(address),
            (Self::Auto, Role::Api) => Some(Self::USUAL),
            (Self::Auto | Self::Off, _) => None,
        }
    }
}

impl fmt::Display for WorkerListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for WorkerListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
