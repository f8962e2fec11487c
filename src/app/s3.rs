//! Builds the endpoint for S3 clients.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::config::Settings;
use crate::coordinator::Coordinator;
use crate::objects::buckets::Buckets;
use crate::runtime::clock::Clock;
use crate::runtime::data_dir::DataDir;
use crate::runtime::entropy::Entropy;
use crate::s3::Parts;
use crate::s3::access::Gate;
use crate::s3::credentials::{Given, Root};
use crate::s3::session::Keys;
use crate::s3::sts::Sts;

/// Where root credentials are kept that nobody gave.
pub(super) const CREDENTIALS: &str = "s3-credentials";
/// How long temporary credentials may last.
const DURATION_MAX: Duration = Duration::from_hours(12);

pub(super) async fn open_buckets(data_dir: &DataDir, entropy: &Entropy) -> Result<Buckets, Error> {
    let (index, root) = (data_dir.path().join("buckets.db"), data_dir.folder("objects/buckets")?);
    Ok(Buckets::open(&index, &root, Clock::system(), entropy.clone()).await?)
}

pub(super) fn parts(
    settings: &Settings,
    data_dir: &DataDir,
    buckets: Buckets,
    coordinator: &Coordinator,
    entropy: &Entropy,
) -> Result<Parts, Error> {
    let (root, _) = Root::open(&Given::default(), &data_dir.path().join(CREDENTIALS), entropy)?;
    let (keys, clock) = (Arc::new(Keys::new(root)), Clock::system());
    let gate = Gate::new(Arc::clone(&keys), coordinator.clone(), clock.clone());
    let sts = Sts::new(keys, clock, entropy.clone(), DURATION_MAX);
    Ok(Parts { buckets, gate, sts, domain: settings.s3_domain.clone(), entropy: entropy.clone() })
}
