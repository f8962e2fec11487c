//! Opens the metadata: in the data directory, or in PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Error, identity, owner};
use crate::config::Settings;
use crate::metadata::{self, Location, Migrate, Postgres, Sqlite, Store, postgres};
use crate::system::data_dir::DataDir;
use crate::system::engine;
use crate::system::identity::Register;
use crate::system::secret;
use crate::system::sqlite::{Owner, Standing};

/// Returns the name of the metadata among the stores of a data directory.
pub(super) const fn name(settings: &Settings) -> &'static str {
    if settings.database.is_embedded() { identity::METADATA } else { postgres::NAME }
}

/// Checks that the settings name the kind of database that this data directory has. Creates nothing.
pub(super) fn check(settings: &Settings, data_dir: &DataDir, register: &Register) -> Result<(), Error> {
    let path = data_dir.path().join(identity::METADATA);
    let problem = if settings.database.is_embedded() {
        (register.has(postgres::NAME) && !path.exists()).then(|| {
            "the metadata of this data directory is in PostgreSQL; name it with --database, or give another --data-dir"
                .to_owned()
        })
    } else {
        path.exists().then(|| {
            format!(
                "the metadata of this data directory is in {}; start without --database, or give another --data-dir",
                path.display()
            )
        })
    };
    problem.map_or(Ok(()), |problem| {
        let place = place(settings, data_dir.path());
        Err(Error::Metadata { place, cause: metadata::Error::Unfit(problem) })
    })
}

/// Opens the metadata, and checks that it belongs to this data directory. `known` is the number of its commits that
/// another store knows of; it is raised after each commit. `node` is the name of this node, if several share the
/// metadata.
pub(super) async fn open(
    settings: &Settings,
    data_dir: &DataDir,
    register: &Register,
    known: Arc<AtomicU64>,
    node: Option<String>,
) -> Result<Arc<dyn Store>, Error> {
    let path = data_dir.path().join(identity::METADATA);
    let companion = owner::companion(settings, data_dir);
    let owner = Owner { known, ..identity::owner(register, settings, name(settings), companion) };
    let fail = |cause| Error::Metadata { place: place(settings, data_dir.path()), cause };
    let (store, standing): (Arc<dyn Store>, Standing) = match way(settings)? {
        None => {
            let store = Sqlite::open_owned(&path, &owner).map_err(fail)?;
            let standing = store.standing();
            (Arc::new(store), standing)
        }
        Some(way) => {
            let migrates = settings.migrate == Migrate::Auto;
            let store = Postgres::open_as(&way, &owner, &path, migrates, node).await.map_err(fail)?;
            let standing = store.standing();
            (Arc::new(store), standing)
        }
    };
    if standing == Standing::Lossy {
        tracing::warn!("starting without lost metadata; objects of unknown projects are kept");
    }
    Ok(store)
}

/// Reports on the PostgreSQL of these settings; `None` if the metadata is in the data directory.
pub(super) async fn inspect(settings: &Settings) -> Result<Option<engine::Report>, Error> {
    let Some(way) = way(settings)? else { return Ok(None) };
    let fail = |cause| Error::Metadata { place: place(settings, &settings.data_dir), cause };
    Postgres::inspect(&way).await.map(Some).map_err(fail)
}

/// Returns the settings of the connection to PostgreSQL; `None` if the metadata is in the data directory.
pub(super) fn way(settings: &Settings) -> Result<Option<postgres::Settings>, Error> {
    let Location::Postgres(address) = &settings.database else { return Ok(None) };
    let password = match (&settings.database_password_file, &settings.database_password) {
        (Some(path), _) => Some(secret::read(path).map_err(Error::DatabasePassword)?),
        (None, Some(password)) => Some(Zeroizing::new(password.reveal().to_string())),
        (None, None) => None,
    };
    Ok(Some(postgres::Settings {
        address: (**address).clone(),
        server: settings.database_server.clone(),
        name: settings.database_dbname.clone(),
        user: settings.database_user.clone(),
        password,
        ca_file: settings.database_ca_file.clone(),
        cert_file: settings.database_cert_file.clone(),
        key_file: settings.database_key_file.clone(),
        connections_max: settings.database_connections_max,
        timeout: Duration::from_millis(settings.database_timeout_ms),
    }))
}

/// Returns the location of the metadata, for messages.
pub(super) fn place(settings: &Settings, data_dir: &Path) -> String {
    match &settings.database {
        Location::Embedded => data_dir.join(identity::METADATA).display().to_string(),
        elsewhere @ Location::Postgres(_) => elsewhere.to_string(),
    }
}
