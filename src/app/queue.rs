//! Opens the queue: in the data directory, or in Redis.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sharing::Sharing;
use super::{Error, identity};
use crate::config::Settings;
use crate::edge::tls::{self, ClientCertificate};
use crate::metadata::postgres;
use crate::queue::redis::{Access, QueueUrl, RedisBroker, Settings as RedisSettings, Shared, TlsFiles};
use crate::queue::sled::{Settings as SledSettings, SledBroker};
use crate::queue::{self, Broker};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::Error as DataDirError;
use crate::system::engine;
use crate::system::identity::Register;
use crate::system::regular;
use crate::system::secret::{self, Hidden};

/// The embedded queue, in the data directory.
const DIRECTORY: &str = "queue";

/// A file in a data directory that was restored from a backup and not used since: it has no queue.
pub const RESTORED: &str = "restored";

/// Checks that the embedded queue belongs to this data directory.
pub(super) fn check(settings: &Settings, data_dir: &Path, register: &Register) -> Result<(), Error> {
    if settings.queue.is_some() { Ok(()) } else { identity::check_queue(&data_dir.join(DIRECTORY), register) }
}

/// Marks the embedded queue, which is open, as belonging to this data directory, which is used from now on.
pub(super) fn mark(settings: &Settings, data_dir: &Path, register: &Register) -> Result<(), Error> {
    if settings.queue.is_none() {
        identity::mark_queue(&data_dir.join(DIRECTORY), register)?;
    }
    let restored = data_dir.join(RESTORED);
    match regular::remove(&restored) {
        Ok(_) => Ok(()),
        Err(cause) => Err(DataDirError::Unusable { path: restored, cause }.into()),
    }
}

/// Opens the queue of a data directory.
pub(super) async fn open(
    settings: Settings,
    data_dir: PathBuf,
    register: &Register,
    entropy: Entropy,
    sharing: &Sharing,
) -> Result<Arc<dyn Broker>, Error> {
    // Jobs come from the metadata: without metadata nothing has been enqueued.
    let expected = data_dir.join(identity::METADATA).exists() || register.has(postgres::NAME);
    let Some(url) = &settings.queue else {
        let is_restored = data_dir.join(RESTORED).exists();
        if is_restored {
            tracing::info!(
                "the data directory was restored from a backup; its queue is made anew and filled from the metadata"
            );
        }
        let expected = expected && !is_restored;
        let wishes = SledSettings { on_damage: settings.queue_damaged, expected, ..SledSettings::default() };
        return embedded(data_dir.join(DIRECTORY), wishes, entropy).await;
    };
    let access = access(&settings, url.clone())?;
    let mut wishes = RedisSettings::new(access, register.identity());
    (wishes.directory, wishes.expected) = (Some(data_dir), expected);
    wishes.shared = sharing.together().map(|commons| Shared {
        node: sharing.own.node.clone(),
        ended: sharing.ended.clone(),
        commons,
    });
    let opened = RedisBroker::open(wishes, entropy).await;
    Ok(Arc::new(opened.map_err(|cause| Error::RemoteQueue { url: url.to_string(), cause })?))
}

/// Reports on the Redis of these settings; `None` if the queue is in the data directory.
pub(super) async fn inspect(settings: &Settings) -> Result<Option<engine::Report>, Error> {
    let Some(url) = &settings.queue else { return Ok(None) };
    let found = RedisBroker::inspect(&access(settings, url.clone())?).await;
    found.map(Some).map_err(|cause| Error::RemoteQueue { url: url.to_string(), cause })
}

async fn embedded(path: PathBuf, settings: SledSettings, entropy: Entropy) -> Result<Arc<dyn Broker>, Error> {
    let theirs = path.clone();
    let opening = tokio::task::spawn_blocking(move || SledBroker::open(&theirs, settings, entropy));
    let opened: Result<_, queue::Error> = opening.await.map_err(io::Error::from)?;
    Ok(Arc::new(opened.map_err(|cause| Error::Queue { path, cause })?))
}

fn access(settings: &Settings, url: QueueUrl) -> Result<Access, Error> {
    if url.has_tls() {
        tls::install_provider();
    }
    let from_file =
        settings.queue_password_file.as_deref().map(|path| secret_in(path, "queue-password-file"));
    let password = from_file.transpose()?.or_else(|| settings.queue_password.clone());
    check_certificates(settings).map_err(Error::QueueTls)?;
    let certificate = |path: Option<&Path>, setting| {
        let read = path.map(|path| {
            let unreadable = |cause| Error::QueueCertificate { setting, path: path.to_owned(), cause };
            fs::read(path).map_err(unreadable)
        });
        read.transpose()
    };
    let tls = TlsFiles {
        authorities: certificate(settings.queue_ca.as_deref(), "queue-ca")?,
        certificate: certificate(settings.queue_cert.as_deref(), "queue-cert")?,
        key: settings.queue_key.as_deref().map(|path| secret_in(path, "queue-key")).transpose()?,
    };
    Ok(Access::new(url, password, tls))
}

/// Checks the certificates for Redis: the client of Redis does not name the file of a wrong one.
fn check_certificates(settings: &Settings) -> Result<(), tls::Error> {
    if let Some(path) = &settings.queue_ca {
        tls::check_authorities(path)?;
    }
    if let (Some(certificate), Some(key)) = (settings.queue_cert.clone(), settings.queue_key.clone()) {
        ClientCertificate { certificate, key }.read(Clock::system().now())?;
    }
    Ok(())
}

fn secret_in(path: &Path, setting: &'static str) -> Result<Hidden, Error> {
    let read = secret::read(path).map(|text| Hidden::new(&text));
    read.map_err(|cause| Error::QueueSecret { setting, cause })
}
