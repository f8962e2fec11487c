//! The versions of the databases of a server, and their migration.

use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, database, identity, s3};
use crate::buckets;
use crate::config::Settings;
use crate::metadata::{self, Migrate, Postgres, Sqlite, postgres};
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::{self, DataDir};
use crate::system::migration::{self, Step};
use crate::system::regular;
use crate::system::sqlite::{self, snapshot};

/// The file in the data directory with the version of the program that used it last.
const PROGRAM: &str = "version";

/// The version of the tables of a database.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The file, or the database.
    pub place: String,
    /// The version of the existing tables; 0 if there are none.
    pub found: u32,
    /// The version of the tables of this program.
    pub known: u32,
    /// The missing migrations.
    pub steps: Vec<Step>,
    /// The path of the snapshot that a migration makes first; `None` if there are no tables, or the database is in
    /// PostgreSQL.
    pub snapshot: Option<PathBuf>,
    /// The paths of the existing snapshots, in the order of their versions.
    pub snapshots: Vec<PathBuf>,
}

impl Versions {
    /// Describes the file at `path`, which has the tables of version `found`.
    fn of_file(path: &Path, found: u32, migrations: &[&str]) -> Self {
        let known = migrations.len() as u32;
        Self {
            place: path.display().to_string(),
            found,
            known,
            steps: migration::steps(migrations, found),
            snapshot: (1..known).contains(&found).then(|| snapshot::path_of(path, found)),
            // An unreadable folder is reported when the database is opened.
            snapshots: snapshot::all(path).unwrap_or_default(),
        }
    }

    /// Returns true if there are tables with missing migrations.
    pub const fn is_behind(&self) -> bool {
        self.found > 0 && self.found < self.known
    }
}

/// Returns the versions of the metadata, and of the index of the buckets if there is one. Changes nothing.
///
/// # Errors
/// [`Error::Metadata`], [`Error::Database`], [`Error::DatabasePassword`].
pub async fn versions(settings: &Settings) -> Result<Vec<Versions>, Error> {
    let (metadata, buckets) = of_both(settings).await?;
    Ok([metadata].into_iter().chain(buckets).collect())
}

/// Returns the versions of the metadata and of the index of the buckets.
async fn of_both(settings: &Settings) -> Result<(Versions, Option<Versions>), Error> {
    let metadata = match database::way(settings)? {
        None => of_metadata(settings, &settings.data_dir)?,
        Some(way) => {
            let place = database::place(settings, &settings.data_dir);
            let postgres::Versions { found, known } = Postgres::versions(&way)
                .await
                .map_err(|cause| Error::Metadata { place: place.clone(), cause })?;
            let steps = migration::steps(&postgres::MIGRATIONS, found);
            Versions { place, found, known, steps, snapshot: None, snapshots: Vec::new() }
        }
    };
    Ok((metadata, of_buckets(&settings.data_dir)?))
}

/// Makes the missing migrations of the databases. Returns the versions before. A missing data
/// directory is left to the first start: its steps are empty.
///
/// # Errors
/// [`Error`]. The database that it names was not changed.
pub async fn migrate(settings: &Settings) -> Result<Vec<Versions>, Error> {
    let (mut metadata, buckets) = of_both(settings).await?;
    let behind = buckets.as_ref().is_some_and(Versions::is_behind);
    let way = database::way(settings)?;
    if let Some(way) = &way {
        let migrated = Postgres::migrate(way).await;
        // Another process may have migrated it in the meantime.
        let migrated = migrated.map_err(|cause| Error::Metadata { place: metadata.place.clone(), cause });
        metadata.found = migrated?.found;
    }
    // The first start makes a data directory; one that is made here would hide a misspelt path.
    if way.is_none() && !settings.data_dir.exists() {
        metadata.steps.clear();
        return Ok([metadata].into_iter().chain(buckets).collect());
    }
    if way.is_some() && !behind {
        return Ok([metadata].into_iter().chain(buckets).collect());
    }
    let data_dir = DataDir::open(&settings.data_dir)?;
    let register = identity::open(&data_dir, &Entropy::system())?;
    database::check(settings, &data_dir, &register)?;
    let settings = Settings { migrate: Migrate::Auto, ..settings.clone() };
    if way.is_none() {
        let store = database::open(&settings, &data_dir, &register, Arc::default(), None).await?;
        store.close().await.map_err(|cause| Error::Metadata { place: metadata.place.clone(), cause })?;
    }
    if behind {
        let (path, owner) =
            (data_dir.path().join(identity::BUCKETS), s3::owner(&settings, &data_dir, &register)?);
        buckets::migrate(&path, &owner).await?;
    }
    Ok([metadata].into_iter().chain(buckets).collect())
}

/// Records that this version of the program uses the data directory.
pub(super) fn note_program(data_dir: &DataDir) {
    let own = env!("CARGO_PKG_VERSION");
    if last_program(data_dir.path()).as_deref() == Some(own) {
        return;
    }
    // The record only makes a later error message clearer, so that an error here does not prevent the start.
    if let Err(error) = data_dir::write_durably(data_dir.path(), PROGRAM, &format!("{own}\n")) {
        tracing::debug!("cannot record the version of this program in the data directory: {error}");
    }
}

/// Adds the version of the program that used the data directory last to an error about newer data.
pub(super) fn explain(error: Error, data_dir: &Path) -> Error {
    match last_program(data_dir).filter(|_| is_too_new(&error)) {
        Some(theirs) => Error::Newer { theirs, cause: Box::new(error) },
        None => error,
    }
}

fn last_program(data_dir: &Path) -> Option<String> {
    let text = String::from_utf8(regular::read(&data_dir.join(PROGRAM)).ok()?).ok()?;
    let version = text.trim();
    let is_version =
        version.len() < 32 && version.chars().all(|c| c.is_ascii_alphanumeric() || "-.+".contains(c));
    (is_version && !version.is_empty()).then(|| version.to_owned())
}

fn is_too_new(error: &Error) -> bool {
    let mut causes = successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    matches!(error, Error::DataDir(data_dir::Error::TooNew { .. }))
        || causes.any(|cause| {
            matches!(cause.downcast_ref(), Some(metadata::Error::TooNew { .. }))
                || matches!(cause.downcast_ref(), Some(sqlite::Error::TooNew { .. }))
        })
}

/// Fails if a database of the data directory must be migrated and the settings do not permit that.
pub(super) fn permit(settings: &Settings, data_dir: &Path) -> Result<(), Error> {
    if settings.migrate == Migrate::Auto {
        return Ok(());
    }
    let all = [of_metadata(settings, data_dir)?].into_iter().chain(of_buckets(data_dir)?);
    match all.into_iter().find(Versions::is_behind) {
        None => Ok(()),
        Some(Versions { place, found, known, .. }) => {
            let cause = metadata::Error::Unfit(format!(
                "its tables have version {found}, and this program needs {known}; run `entityd migrate apply`, or start \
                 with --migrate auto"
            ));
            Err(Error::Metadata { place, cause })
        }
    }
}

fn of_metadata(settings: &Settings, data_dir: &Path) -> Result<Versions, Error> {
    let path = data_dir.join(identity::METADATA);
    let found = Sqlite::version(&path).map_err(|cause| match DataDir::open(data_dir) {
        // A server that runs has locked the file.
        Err(used @ data_dir::Error::InUse { .. }) => used.into(),
        _ => Error::Metadata { place: database::place(settings, data_dir), cause },
    })?;
    Ok(Versions::of_file(&path, found, &metadata::sqlite::MIGRATIONS))
}

/// Describes the index of the buckets; returns `None` if there is none.
fn of_buckets(data_dir: &Path) -> Result<Option<Versions>, Error> {
    let path = data_dir.join(identity::BUCKETS);
    match sqlite::version_of(&path) {
        Ok(0) => Ok(None),
        Ok(found) => Ok(Some(Versions::of_file(&path, found, &buckets::MIGRATIONS))),
        Err(cause) => Err(Error::Database { path, cause }),
    }
}
