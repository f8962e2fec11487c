//! Claims the object store for this data directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::time::timeout;

use super::{Error, settings};
use crate::config::Settings;
use crate::objects::{Claimant, Location, NotOurs, Owner};
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::DataDir;
use crate::system::identity::Register;
use crate::telemetry::chain;

/// The time for which a start waits for a remote store to return its owner.
const ANSWER: Duration = Duration::from_secs(5);

/// Claims the store. If the store does not answer, [`Owner::keep`] claims it later.
pub(super) async fn claim(
    settings: &Settings,
    data_dir: &DataDir,
    register: &Register,
    store: Arc<dyn ObjectStore>,
) -> Result<Owner, Error> {
    let owner = Owner::new(store, claimant(settings, data_dir, register));
    match timeout(ANSWER, owner.claim()).await {
        Ok(Ok(())) => {}
        Ok(Err(NotOurs::Unknown(error))) if is_remote(settings) => {
            tracing::warn!(
                "the owner of the objects at {} is not known yet: {}",
                settings.objects,
                chain(&error)
            );
        }
        Ok(Err(refused)) => return Err(refused.into()),
        Err(_) => tracing::warn!("the object store {} has not reported its owner yet", settings.objects),
    }
    Ok(owner)
}

/// Returns the name of the objects in the register.
pub(super) fn name(settings: &Settings) -> String {
    match &settings.objects {
        Location::Data => "objects".to_owned(),
        elsewhere => format!("objects {elsewhere}"),
    }
}

/// Returns the locations of the objects that this data directory has used, if it has not used that of the settings.
fn elsewhere(settings: &Settings, data_dir: &DataDir, register: &Register) -> Option<String> {
    if register.has(&name(settings)) {
        return None;
    }
    let place = |store: &str| match store.strip_prefix("objects") {
        Some("") => Some(data_dir.path().join("objects").display().to_string()),
        Some(location) => location.strip_prefix(' ').map(str::to_owned),
        None => None,
    };
    let known: Vec<String> = register.made().filter_map(place).collect();
    (!known.is_empty()).then(|| known.join(" or "))
}

fn claimant(settings: &Settings, data_dir: &DataDir, register: &Register) -> Claimant {
    let directory = directory(settings, data_dir);
    let place = match &settings.objects {
        Location::Data => data_dir.path().join("objects").display().to_string(),
        elsewhere => elsewhere.to_string(),
    };
    let lease = (!are_within(settings, data_dir))
        .then(|| (Duration::from_millis(settings.lease_ms), data_dir.path().join("objects.lease")));
    Claimant {
        place,
        identity: register.identity(),
        before: register.has(&name(settings)),
        elsewhere: elsewhere(settings, data_dir, register),
        take_over: settings.take_over_objects,
        lease,
        shared: settings::is_shared(settings),
        directory,
        entropy: Entropy::system(),
    }
}

/// Returns the directory that holds the objects, if they are local files.
pub(super) fn directory(settings: &Settings, data_dir: &DataDir) -> Option<PathBuf> {
    match &settings.objects {
        Location::Data => Some(data_dir.path().join("objects")),
        Location::Directory(path) => Some(path.join("objects")),
        Location::Bucket { .. } => None,
    }
}

/// Returns the location of the second mark of the metadata, if the objects are in the data directory: commits must not
/// wait for a remote store.
pub(super) fn companion(settings: &Settings, data_dir: &DataDir) -> Option<PathBuf> {
    are_within(settings, data_dir).then(|| data_dir.path().join("objects/entityd/metadata.mark"))
}

/// Returns true if the objects are in the data directory itself, which is locked by one process. If they are behind a
/// link or a mount, a copy of the data directory may use the same objects.
fn are_within(settings: &Settings, data_dir: &DataDir) -> bool {
    let (home, folder) = (data_dir.path(), data_dir.path().join("objects"));
    let is_plain = || match (fs::metadata(home), fs::symlink_metadata(folder)) {
        (Ok(home), Ok(found)) => found.is_dir() && found.dev() == home.dev(),
        _ => true,
    };
    settings.objects == Location::Data && is_plain()
}

const fn is_remote(settings: &Settings) -> bool {
    matches!(settings.objects, Location::Bucket { .. })
}
